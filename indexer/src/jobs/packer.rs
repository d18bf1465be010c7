//! Packer: decides when a job is full.
//!
//! A job holds about as many tokens as the packer aims at, so that the number of waiting jobs is proportional to the
//! work that waits. It never has more rows or bytes than the contract allows. Items keep their order.

use contract::job::{MAX_JOB_BYTES, MAX_META_COPIES_BYTES, MAX_ROWS};
use serde::Serialize;

/// Tokens of a job, unless somebody chooses otherwise: what a waiting job stands for where a fleet is sized.
pub const JOB_TOKENS: usize = 8192;
/// Room in a job for headers and for what surrounds its items.
const RESERVE_BYTES: usize = 8 * 1024;
/// Most bytes of the items of a job.
pub const MAX_ITEM_BYTES: usize = MAX_JOB_BYTES - RESERVE_BYTES;

/// How much of a job something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub tokens: usize,
    pub rows: usize,
    pub bytes: usize,
    /// Bytes of metadata, counted for each row that gets a copy of it.
    pub copies: usize,
}

/// Fills jobs one after the other.
#[derive(Debug)]
pub struct Packer<T> {
    job_tokens: usize,
    items: Vec<T>,
    size: Size,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled<T> {
    pub items: Vec<T>,
    pub size: Size,
}

impl Size {
    /// Whether a job can hold it at all. A row with more tokens than a job aims at travels alone.
    pub fn fits_alone(self) -> bool {
        self.rows <= MAX_ROWS
            && self.bytes <= MAX_ITEM_BYTES
            && self.copies <= MAX_META_COPIES_BYTES
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            copies: self.copies + other.copies,
        }
    }
}

impl<T> Packer<T> {
    /// Packs jobs of about `job_tokens`.
    pub fn new(job_tokens: usize) -> Self {
        Self {
            job_tokens,
            items: Vec::new(),
            size: Size::default(),
        }
    }

    /// Adds an item. Gives the job before it, if the item did not fit into that.
    pub fn add(&mut self, item: T, size: Size) -> Option<Filled<T>> {
        let filled = self.make_room(size);
        self.push(item, size);
        filled
    }

    /// Gives the job that is being filled, if something of this size does not fit into it.
    pub fn make_room(&mut self, size: Size) -> Option<Filled<T>> {
        let sum = self.size.plus(size);
        if sum.tokens <= self.job_tokens && sum.fits_alone() {
            return None;
        }
        self.finish()
    }

    /// Adds an item for which there is room.
    pub fn push(&mut self, item: T, size: Size) {
        self.items.push(item);
        self.grow(size);
    }

    /// Notes that the last item has become larger.
    pub fn grow(&mut self, size: Size) {
        self.size = self.size.plus(size);
    }

    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.items.last_mut()
    }

    /// Gives the job that is being filled, if anything is in it.
    pub fn finish(&mut self) -> Option<Filled<T>> {
        if self.items.is_empty() {
            return None;
        }
        Some(Filled {
            items: std::mem::take(&mut self.items),
            size: std::mem::take(&mut self.size),
        })
    }
}

/// Bytes of a value as JSON, counted and not kept.
pub fn json_bytes(value: &(impl Serialize + ?Sized)) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail, and what is counted has only string keys.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX / 4, |()| count.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(tokens: usize, bytes: usize) -> Size {
        Size {
            tokens,
            rows: 1,
            bytes,
            copies: 0,
        }
    }

    fn jobs(job_tokens: usize, sizes: &[Size]) -> Vec<Vec<usize>> {
        let mut packer = Packer::new(job_tokens);
        let add = |(n, size): (usize, &Size)| packer.add(n, *size);
        let mut jobs: Vec<_> = sizes.iter().enumerate().filter_map(add).collect();
        jobs.extend(packer.finish());
        jobs.into_iter().map(|filled| filled.items).collect()
    }

    #[test]
    fn a_job_takes_what_reaches_its_tokens_and_nothing_beyond() {
        assert_eq!(
            jobs(10, &[size(4, 1), size(6, 1), size(1, 1)]),
            [vec![0, 1], vec![2]]
        );
    }

    #[test]
    fn an_item_beyond_the_tokens_of_a_job_travels_alone() {
        assert_eq!(
            jobs(10, &[size(1, 1), size(99, 1), size(1, 1)]),
            [[0], [1], [2]]
        );
    }

    #[test]
    fn a_job_takes_bytes_and_rows_up_to_the_limit_and_no_more() {
        let halves = [size(0, MAX_ITEM_BYTES / 2); 3];
        assert_eq!(jobs(10, &halves), [vec![0, 1], vec![2]]);
        let rows = vec![size(0, 1); MAX_ROWS + 1];
        let lengths: Vec<_> = jobs(10, &rows).iter().map(Vec::len).collect();
        assert_eq!(lengths, [MAX_ROWS, 1]);
    }

    #[test]
    fn an_item_that_fits_no_job_is_known_before_it_is_added() {
        assert!(size(usize::MAX, MAX_ITEM_BYTES).fits_alone());
        assert!(!size(0, MAX_ITEM_BYTES + 1).fits_alone());
    }

    #[test]
    fn bytes_are_those_of_the_json_that_is_sent() {
        let value = serde_json::json!({ "text": "\u{1}é\"" });
        assert_eq!(json_bytes(&value), value.to_string().len());
    }
}

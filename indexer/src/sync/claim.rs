//! Claim: the documents that the source says it has, whether or not they can be read.
//!
//! It is known before anything is chunked, and so before anything is published. A file that is one document claims its
//! id by its name alone: unreadable or not, the document is not deleted. Behind other things that cannot be read, as a
//! folder or a line of a file with many documents, there may be documents that nobody knows; they are counted.

use std::collections::HashSet;

use crate::corpus;
use crate::corpus::seen::identity;
use documents::extract::Extractor;
use documents::source::Format;

/// Documents of the source by their identities, 16 bytes each.
#[derive(Debug, Default)]
pub struct SourceIdentities {
    sorted: Vec<u128>,
    /// Things that cannot be read, with documents behind them that are not claimed.
    pub hidden: u64,
    /// Prefixes that the ids of documents in empty folders would have.
    pub empty: Vec<String>,
}

impl SourceIdentities {
    /// Walks the sources. Blocks.
    pub fn by(sources: &[String], extractor: &Extractor) -> anyhow::Result<Self> {
        let mut claimed = Self::default();
        let mut sources = corpus::open(sources, Format::Jsonl)?;
        for input in &mut sources {
            match input {
                Ok(input) => extractor.ids(input).for_each(|id| claimed.add(id)),
                Err(error) => claimed.add(Err(error)),
            }
        }
        claimed.empty = sources.empty().to_vec();
        claimed.sort();
        Ok(claimed)
    }

    /// Adds documents that were seen later: a source may grow while it is read.
    pub fn extend(&mut self, seen: HashSet<u128>) {
        self.sorted.extend(seen);
        self.sort();
    }

    pub fn holds(&self, identity: u128) -> bool {
        self.sorted.binary_search(&identity).is_ok()
    }

    /// Whether a document may be in a folder that holds nothing, because a mount is missing.
    pub fn may_hide(&self, doc_id: &str) -> bool {
        self.empty.iter().any(|folder| doc_id.starts_with(folder))
    }

    fn add(&mut self, id: Result<String, documents::source::SourceError>) {
        match id {
            Ok(id) => self.sorted.push(identity(&id)),
            Err(error) => self.hidden += u64::from(error.hides_documents()),
        }
    }

    fn sort(&mut self) {
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_claimed_by_its_name_or_counted() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            std::fs::write(folder.path().join(name), content).unwrap();
        };
        write("broken.md", b"\xff\xfe\x00");
        write(
            "records.jsonl",
            b"{\"_id\":\"a\",\"text\":\"A\"}\nnot json\n",
        );
        let sources = [folder.path().display().to_string()];
        let claimed = SourceIdentities::by(&sources, &Extractor::default()).unwrap();
        assert!(claimed.holds(identity("broken.md")));
        assert!(claimed.holds(identity("a")));
        assert!(!claimed.holds(identity("b")));
        assert_eq!(claimed.hidden, 1);
    }

    #[test]
    fn an_empty_folder_below_a_source_may_hide_the_documents_that_were_in_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.md"), "A").unwrap();
        std::fs::create_dir_all(folder.path().join("mounts/one")).unwrap();
        let sources = [folder.path().display().to_string()];
        let claimed = SourceIdentities::by(&sources, &Extractor::default()).unwrap();
        assert_eq!(claimed.empty, ["mounts/one/"]);
        assert!(claimed.may_hide("mounts/one/b.md"));
        assert!(!claimed.may_hide("mounts/two.md"));
        assert_eq!(claimed.hidden, 0);
    }

    #[test]
    fn an_empty_folder_below_a_glob_may_hide_the_documents_that_were_in_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.md"), "A").unwrap();
        std::fs::create_dir_all(folder.path().join("mounts/one")).unwrap();
        let sources = [format!("{}/**/*.md", folder.path().display())];
        let claimed = SourceIdentities::by(&sources, &Extractor::default()).unwrap();
        assert_eq!(claimed.empty, ["mounts/one/"]);
        assert!(claimed.holds(identity("a.md")));
    }

    #[test]
    fn an_empty_folder_hides_documents() {
        let folder = tempfile::tempdir().unwrap();
        let sources = [folder.path().display().to_string()];
        let claimed = SourceIdentities::by(&sources, &Extractor::default()).unwrap();
        assert_eq!(claimed.hidden, 1);
        assert!(claimed.may_hide("any.md"));
    }
}

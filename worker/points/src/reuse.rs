//! Reuse: attached vectors that were made of a text before. Only those count of which their point says so
//! ([`crate::payload::is_made_of_text`]): the vector of a point that is being written may be of the text before.

use std::collections::{HashMap, HashSet};

use contract::field;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use qdrant_client::qdrant::{Condition, Filter, RetrievedPoint, Vector};

use crate::Points;
use crate::payload::{id, is_made_of_text, named_vector, text};
use crate::selection::VectorSelection;
use crate::store::{PointsError, Store};

/// Look-ups by digest at the same time.
pub const CONCURRENT_LOOKUPS: usize = 8;
/// Points of the same text that are looked at: the first of them may be about to get its vector.
const POINTS_OF_A_TEXT: u32 = 2;
/// Fields that are read.
const FIELDS: [&str; 2] = [field::DIGEST, field::ATTACHED];

/// A point that a vector is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub id: &'a str,
    /// Digest of its text.
    pub digest: &'a str,
}

/// An attached vector that is reused.
#[derive(Clone, Debug)]
pub struct Reused<'a> {
    pub name: &'a str,
    /// The selection that reads this vector.
    pub selection: VectorSelection,
}

impl Reused<'_> {
    /// The vector of a point with its digest, if it is of that text.
    fn of(&self, point: &RetrievedPoint) -> Option<(String, Vector)> {
        let vector = named_vector(point, self.name).filter(|_| is_made_of_text(point, self.name));
        Some((text(point, field::DIGEST)?, vector?))
    }
}

impl<S: Store> Points<'_, S> {
    /// The vectors that are known of texts, by the ids of the points that want them: first those of the same points, then
    /// those of any point with the same text. All of them are in memory: ask for no more than
    /// [`VectorSelection::points`] at once.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn made_of(
        self,
        reused: &Reused<'_>,
        wanted: &[Wanted<'_>],
    ) -> Result<HashMap<String, Vector>, PointsError> {
        let mut made = self.has_of(reused, wanted.iter().copied()).await?;
        let digests: HashMap<_, _> = wanted.iter().map(|it| (it.id, it.digest)).collect();
        let moved = digests.iter().filter(|(id, _)| !made.contains_key(**id));
        let moved: HashSet<&str> = moved.map(|(_, digest)| *digest).collect();
        let moved: Vec<_> = stream::iter(moved)
            .map(|digest| self.made_of_text(reused, digest))
            .buffer_unordered(CONCURRENT_LOOKUPS)
            .try_collect()
            .await?;
        let moved: HashMap<_, _> = moved.into_iter().flatten().collect();
        for (id, digest) in digests {
            if let Some(vector) = moved.get(digest) {
                let vector = || vector.clone();
                made.entry(id.to_owned()).or_insert_with(vector);
            }
        }
        Ok(made)
    }

    /// The vectors that points have of their texts, by the ids of these points. All of them are in memory, as above.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn has_of<'w>(
        self,
        reused: &Reused<'_>,
        wanted: impl Iterator<Item = Wanted<'w>>,
    ) -> Result<HashMap<String, Vector>, PointsError> {
        let digests: HashMap<_, _> = wanted.map(|it| (it.id, it.digest)).collect();
        let ids = digests.keys().copied();
        let points = self.get_with(&reused.selection, ids, &FIELDS).await?;
        let own = points.iter().filter_map(|point| {
            let (id, (digest, vector)) = (id(point), reused.of(point)?);
            (digests.get(id.as_str()) == Some(&digest.as_str())).then_some((id, vector))
        });
        Ok(own.collect())
    }

    async fn made_of_text(
        self,
        reused: &Reused<'_>,
        digest: &str,
    ) -> Result<Option<(String, Vector)>, PointsError> {
        let same_text = Filter::must([
            Condition::matches(field::DIGEST, digest.to_owned()),
            Condition::has_vector(reused.name),
        ]);
        let pages = self.pages(same_text, &FIELDS, POINTS_OF_A_TEXT);
        let page = pages.with_vectors(reused.selection.clone()).next().await?;
        Ok(page.unwrap_or_default().iter().find_map(|it| reused.of(it)))
    }
}

//! Pages: reads all points that a filter matches, in the order of their ids. A page is in memory at a time, and is smaller
//! where large vectors are read.

use qdrant_client::qdrant::{Filter, PointId, RetrievedPoint, ScrollPoints};

use crate::Points;
use crate::payload::include;
use crate::refusal::Refusal;
use crate::selection::VectorSelection;
use crate::store::{PointsError, Store};

/// Points that are read page by page.
#[derive(Debug)]
pub struct Pages<'a, S> {
    points: Points<'a, S>,
    /// Points of a page, if the collection allows so many.
    wanted: usize,
    vectors: VectorSelection,
    /// `None` after the last page.
    request: Option<ScrollPoints>,
}

impl<'a, S: Store> Points<'a, S> {
    /// Reads all points that `filter` matches, with some fields of their payload and without vectors, `limit` at a time
    /// or as many as the collection allows.
    #[must_use]
    pub fn pages(self, filter: Filter, fields: &[&str], limit: u32) -> Pages<'a, S> {
        let request = ScrollPoints {
            collection_name: self.collection.to_string(),
            filter: Some(filter),
            with_payload: Some(include(fields)),
            ..ScrollPoints::default()
        };
        Pages {
            points: self,
            wanted: limit as usize,
            vectors: VectorSelection::none(),
            request: Some(request),
        }
    }
}

impl<S: Store> Pages<'_, S> {
    /// Begins at the point with this id.
    #[must_use]
    pub fn starting_at(mut self, id: Option<PointId>) -> Self {
        if let Some(request) = &mut self.request {
            request.offset = id;
        }
        self
    }

    /// Reads these vectors too.
    #[must_use]
    pub fn with_vectors(self, vectors: VectorSelection) -> Self {
        Self { vectors, ..self }
    }

    /// The next page, `None` after the last one.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`]; the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<RetrievedPoint>>, PointsError> {
        let Some(request) = &mut self.request else {
            return Ok(None);
        };
        let mut limits = self.points.limits().await?;
        let page = loop {
            let most = limits.page(self.vectors.points(self.wanted));
            request.limit = Some(u32::try_from(most).unwrap_or(u32::MAX));
            request.with_vectors = Some(self.vectors.selector());
            let answer = self.points.store.scroll(request.clone()).await;
            match answer.map_err(self.points.failed("read points of")) {
                Ok(page) => break page,
                Err(error) if error.refusal() == Some(Refusal::Content) => {
                    self.vectors = self.points.select_again(&self.vectors, error).await?;
                }
                Err(error) => limits = self.points.limits_after(limits, error).await?,
            }
        };
        match page.next_page_offset {
            Some(next) => request.offset = Some(next),
            None => self.request = None,
        }
        Ok(Some(page.result))
    }
}

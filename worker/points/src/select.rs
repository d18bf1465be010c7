//! Select: looks up in a collection which of some vectors it has, and how large they may be.

use crate::Points;
use crate::selection::VectorSelection;
use crate::store::{PointsError, Store};
use crate::vectors::vector_names;

impl<S: Store> Points<'_, S> {
    /// Selects the vectors of these names, as far as the collection has them.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn select(
        self,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<VectorSelection, PointsError> {
        let wanted = names.into_iter().map(Into::into).collect();
        Ok(VectorSelection::of(&self.info().await?, wanted))
    }

    /// Selects all vectors.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub(crate) async fn select_all(self) -> Result<VectorSelection, PointsError> {
        let info = self.info().await?;
        Ok(VectorSelection::of(&info, vector_names(&info)))
    }

    /// After a read was refused for what it asked: what of the same names the collection has now.
    ///
    /// # Errors
    /// The same error, if that is not its cause.
    pub(crate) async fn select_again(
        self,
        used: &VectorSelection,
        error: PointsError,
    ) -> Result<VectorSelection, PointsError> {
        if used.is_empty() {
            return Err(error);
        }
        match self.select(used.wanted()).await? {
            found if found == *used => Err(error),
            found => Ok(found),
        }
    }
}

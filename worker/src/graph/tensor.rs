//! Tensor: reads the values of constants, and makes new ones.

use bytes::Bytes;
use half::f16;

use super::EditError;
use super::proto::{EXTERNAL, TensorProto, data_type};

impl TensorProto {
    /// Whether its values are in a file beside the graph.
    pub fn is_external(&self) -> bool {
        self.data_location() == EXTERNAL
    }

    /// An entry of the description where in which file its values are.
    pub fn external(&self, key: &str) -> Option<&str> {
        let mut entries = self.external_data.iter();
        let entry = entries.find(|entry| entry.key() == key)?;
        entry.value.as_deref()
    }

    /// How many values its shape has; 0 for an invalid shape.
    pub fn elements(&self) -> usize {
        let size = |dim: &i64| usize::try_from(*dim).ok();
        let product = |all: usize, dim: &i64| all.checked_mul(size(dim)?);
        self.dims.iter().try_fold(1, product).unwrap_or(0)
    }

    /// Rows and columns of a matrix of 32-bit floats, `None` for anything else.
    pub fn matrix(&self) -> Option<(usize, usize)> {
        let [rows, columns] = self.dims[..] else {
            return None;
        };
        let shape = (usize::try_from(rows).ok()?, usize::try_from(columns).ok()?);
        (self.data_type() == data_type::FLOAT && self.elements() > 0).then_some(shape)
    }

    /// The values of a tensor of 32-bit floats, in the order of its dimensions.
    ///
    /// # Errors
    /// [`EditError::Weight`] if the values are in a file, or not as many as the shape has.
    pub fn floats(&self) -> Result<Vec<f32>, EditError> {
        let (chunks, rest) = self.raw_data().as_chunks::<4>();
        let values = if self.raw_data.is_some() {
            chunks
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect()
        } else {
            self.float_data.clone()
        };
        if self.is_external() || !rest.is_empty() || values.len() != self.elements() {
            return Err(EditError::Weight {
                weight: self.name().to_owned(),
                problem: format!("has {} values for the shape {:?}", values.len(), self.dims),
            });
        }
        Ok(values)
    }
}

/// A constant of 32-bit floats.
pub(super) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    raw(name, dims, data_type::FLOAT, bytes.collect())
}

/// A constant of 16-bit floats.
pub(super) fn halves(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let bytes = values
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes());
    raw(name, dims, data_type::FLOAT16, bytes.collect())
}

/// A constant of signed bytes.
pub(super) fn signed_bytes(name: &str, dims: &[i64], values: &[i8]) -> TensorProto {
    let bytes = values.iter().map(|value| value.cast_unsigned());
    raw(name, dims, data_type::INT8, bytes.collect())
}

/// A list of 64-bit integers, or a single one without dimensions.
pub(super) fn integers(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    raw(name, dims, data_type::INT64, bytes.collect())
}

fn raw(name: &str, dims: &[i64], data_type: i32, bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(data_type),
        name: Some(name.to_owned()),
        raw_data: Some(Bytes::from(bytes)),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_both_fields_that_may_hold_them() {
        let values = [1.5, -2.0, f32::MIN_POSITIVE];
        let raw = floats("w", &[3], &values);
        let listed = TensorProto {
            float_data: values.to_vec(),
            raw_data: None,
            ..raw.clone()
        };
        assert_eq!(raw.floats().unwrap(), values);
        assert_eq!(listed.floats().unwrap(), values);
    }

    #[test]
    fn values_that_do_not_fill_the_shape_are_refused() {
        let whole = floats("w", &[2, 2], &[0.0; 4]);
        let torn = TensorProto {
            raw_data: Some(Bytes::from_static(&[0; 15])),
            ..whole.clone()
        };
        let elsewhere = TensorProto {
            data_location: Some(EXTERNAL),
            ..whole.clone()
        };
        let other = TensorProto {
            dims: vec![3, 2],
            ..whole.clone()
        };
        assert!(whole.floats().is_ok());
        for tensor in [torn, elsewhere, other] {
            let error = tensor.floats().unwrap_err().to_string();
            assert!(error.contains("`w` has"), "{error}");
        }
    }
}

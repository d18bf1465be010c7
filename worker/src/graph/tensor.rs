//! Tensor: reads the values of constants, makes new ones, and finds all that a graph holds: its weights, the values of its
//! constants, and those of graphs within it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use half::{bf16, f16};

use super::EditError;
use super::proto::{EXTERNAL, GraphProto, NodeProto, TensorProto, data_type};

/// Bytes of a file that are looked at together: whole values of each type.
const PIECE: usize = 1 << 20;

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

    /// Whether a float among its values is no number. Values in a file are read from `folder`.
    ///
    /// # Errors
    /// If the file cannot be read, or ends before the values.
    pub fn has_nan(&self, folder: &Path) -> io::Result<bool> {
        if self.is_external() {
            return self.has_nan_in_file(folder);
        }
        let bits = self.int32_data.iter().map(|bits| bits.to_le_bytes());
        Ok(holds_nan(self.data_type(), self.raw_data())
            || self.float_data.iter().any(|value| value.is_nan())
            || self.double_data.iter().any(|value| value.is_nan())
            || bits
                .into_iter()
                .any(|bits| holds_nan(self.data_type(), &bits[..2])))
    }

    fn has_nan_in_file(&self, folder: &Path) -> io::Result<bool> {
        let Some(size) = size_of_float(self.data_type()) else {
            return Ok(false);
        };
        let number = |key| self.external(key).and_then(|it| it.parse().ok());
        let mut file = File::open(folder.join(self.external("location").unwrap_or_default()))?;
        file.seek(SeekFrom::Start(number("offset").unwrap_or(0)))?;
        // Behind them are values of other tensors.
        let mut left = self.elements().saturating_mul(size);
        let mut piece = vec![0; PIECE.min(left)];
        while left > 0 {
            let piece = &mut piece[..PIECE.min(left)];
            file.read_exact(piece)?;
            if holds_nan(self.data_type(), piece) {
                return Ok(true);
            }
            left -= piece.len();
        }
        Ok(false)
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

/// Bytes of a value, if it is a float that may be no number.
fn size_of_float(data_type: i32) -> Option<usize> {
    match data_type {
        data_type::FLOAT16 | data_type::BFLOAT16 => Some(2),
        data_type::FLOAT => Some(4),
        data_type::DOUBLE => Some(8),
        _ => None,
    }
}

/// Whether a float in the bytes of a tensor is no number.
fn holds_nan(data_type: i32, bytes: &[u8]) -> bool {
    let (halves, singles, doubles) = (
        bytes.as_chunks::<2>().0.iter(),
        bytes.as_chunks::<4>().0.iter(),
        bytes.as_chunks::<8>().0.iter(),
    );
    match data_type {
        data_type::FLOAT => any(singles.map(|it| f32::from_le_bytes(*it).is_nan())),
        data_type::FLOAT16 => any(halves.map(|it| f16::from_le_bytes(*it).is_nan())),
        data_type::BFLOAT16 => any(halves.map(|it| bf16::from_le_bytes(*it).is_nan())),
        data_type::DOUBLE => any(doubles.map(|it| f64::from_le_bytes(*it).is_nan())),
        _ => false,
    }
}

/// Looks at all: without an early end, several values are looked at by one instruction.
fn any(found: impl Iterator<Item = bool>) -> bool {
    found.fold(false, |any, found| any | found)
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

impl GraphProto {
    /// All tensors with values.
    pub fn tensors(&self) -> Vec<&TensorProto> {
        let mut found: Vec<_> = self.initializer.iter().collect();
        for attribute in self.node.iter().flat_map(|node| &node.attribute) {
            found.extend(attribute.t.iter().chain(&attribute.tensors));
            let graphs = attribute.g.iter().chain(&attribute.graphs);
            found.extend(graphs.flat_map(Self::tensors));
        }
        found
    }

    /// Changes all tensors with values.
    ///
    /// # Errors
    /// The first that `change` gives.
    pub fn change_tensors<E>(
        &mut self,
        change: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
    ) -> Result<(), E> {
        self.initializer.iter_mut().try_for_each(&mut *change)?;
        let nodes = self.node.iter_mut();
        nodes
            .flat_map(|node: &mut NodeProto| &mut node.attribute)
            .try_for_each(|attribute| {
                let own = attribute.t.iter_mut().chain(&mut attribute.tensors);
                own.into_iter().try_for_each(&mut *change)?;
                let graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
                graphs
                    .into_iter()
                    .try_for_each(|graph| graph.change_tensors(change))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::proto::StringStringEntryProto;

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
    fn a_value_that_is_no_number_is_found_wherever_values_are() {
        let folder = tempfile::tempdir().unwrap();
        let has_nan = |tensor: &TensorProto| tensor.has_nan(folder.path()).unwrap();
        let mut values = vec![f32::NEG_INFINITY; 300_000];
        for number in [1.0, f32::NAN] {
            *values.last_mut().unwrap() = number;
            let raw = floats("w", &[300_000], &values);
            let halves = halves("w", &[300_000], &values);
            let listed = TensorProto {
                float_data: values.clone(),
                raw_data: None,
                ..raw.clone()
            };
            let bits = f16::from_f32(number).to_bits();
            let as_integers = TensorProto {
                raw_data: None,
                int32_data: vec![0, bits.into()],
                ..halves.clone()
            };
            let entry = |key: &str, value: &str| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            let file = [&[0xff; 12], raw.raw_data(), &[0xff; 4]].concat();
            std::fs::write(folder.path().join("w.bin"), &file).unwrap();
            std::fs::write(folder.path().join("short.bin"), &file[..1000]).unwrap();
            let external = TensorProto {
                raw_data: None,
                data_location: Some(EXTERNAL),
                external_data: vec![entry("location", "w.bin"), entry("offset", "12")],
                ..raw.clone()
            };
            let short = TensorProto {
                external_data: vec![entry("location", "short.bin")],
                ..external.clone()
            };
            assert!(short.has_nan(folder.path()).is_err());
            for tensor in [&raw, &halves, &listed, &as_integers, &external] {
                assert_eq!(has_nan(tensor), number.is_nan());
            }
            // Bytes of integers are numbers, whatever they are.
            let integers = TensorProto {
                data_type: Some(data_type::INT64),
                ..external
            };
            assert!(!has_nan(&integers));
        }
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

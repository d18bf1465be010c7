//! The vector of a chunk, where its publisher has it already.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A vector as a job carries it: 32-bit floats, little-endian, in base64. That is a third of what their digits would
/// take, and every bit of them comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownVector(pub Vec<f32>);

impl Serialize for KnownVector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.iter().flat_map(|value| value.to_le_bytes());
        let bytes: Vec<u8> = bytes.collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for KnownVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| D::Error::custom("a vector is not base64"))?;
        let (values, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(D::Error::custom("a vector is not of 32-bit floats"));
        }
        let values = values.iter().map(|value| f32::from_le_bytes(*value));
        Ok(Self(values.collect()))
    }
}

impl JsonSchema for KnownVector {
    fn schema_name() -> Cow<'static, str> {
        "KnownVector".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "32-bit floats, little-endian, in base64",
            "type": "string",
            "contentEncoding": "base64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::KnownVector;

    #[test]
    fn every_bit_comes_back() {
        let vector = KnownVector(vec![0.0, -0.0, 1.0, f32::MIN_POSITIVE, f32::NAN, -7.25e-9]);
        let json = serde_json::to_string(&vector).expect("a string");
        let read: KnownVector = serde_json::from_str(&json).expect("a vector");
        let bits =
            |vector: &KnownVector| vector.0.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(&vector));
        assert_eq!(
            serde_json::to_string(&KnownVector(vec![1.0])).expect("a string"),
            r#""AACAPw==""#
        );
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        for json in [r#""AACAPw=""#, r#""AACA""#, "[1.0]", "7"] {
            assert!(serde_json::from_str::<KnownVector>(json).is_err(), "{json}");
        }
    }
}

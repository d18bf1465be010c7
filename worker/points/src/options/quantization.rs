//! Quantization as text: a kind, then what is said of it, each behind a colon.
//!
//! ```text
//! none
//! int8[:quantile=0.99]
//! product-x4 | product-x8 | product-x16 | product-x32 | product-x64
//! binary | binary-1.5bit | binary-2bit, each with [:query=binary|scalar4bits|scalar8bits]
//! turbo-1bit | turbo-1.5bit | turbo-2bit | turbo-4bit | turbo-8bit, for servers that have it
//! ```
//! Each ends with `:ram` where the quantized copy is held in memory although the vectors lie on disk.

#![expect(
    deprecated,
    reason = "servers before 1.19 know only the fields that newer ones replace"
)]

use qdrant_client::qdrant::binary_quantization_query_encoding::{Setting, Variant};
use qdrant_client::qdrant::quantization_config::Quantization;
use qdrant_client::qdrant::quantization_config_diff::Quantization as Changed;
use qdrant_client::qdrant::{
    BinaryQuantization, BinaryQuantizationEncoding, BinaryQuantizationQueryEncoding,
    CompressionRatio, Disabled, Memory, ProductQuantization, QuantizationConfig,
    QuantizationConfigDiff, QuantizationType, ScalarQuantization, TurboQuantBitSize,
    TurboQuantization,
};

/// Vectors are not quantized.
pub(super) const NONE: &str = "none";

const PRODUCT: [(&str, CompressionRatio); 5] = [
    ("product-x4", CompressionRatio::X4),
    ("product-x8", CompressionRatio::X8),
    ("product-x16", CompressionRatio::X16),
    ("product-x32", CompressionRatio::X32),
    ("product-x64", CompressionRatio::X64),
];
const BINARY: [(&str, BinaryQuantizationEncoding); 3] = [
    ("binary", BinaryQuantizationEncoding::OneBit),
    ("binary-1.5bit", BinaryQuantizationEncoding::OneAndHalfBits),
    ("binary-2bit", BinaryQuantizationEncoding::TwoBits),
];
const TURBO: [(&str, TurboQuantBitSize); 5] = [
    ("turbo-1bit", TurboQuantBitSize::Bits1),
    ("turbo-1.5bit", TurboQuantBitSize::Bits15),
    ("turbo-2bit", TurboQuantBitSize::Bits2),
    ("turbo-4bit", TurboQuantBitSize::Bits4),
    ("turbo-8bit", TurboQuantBitSize::Bits8),
];
const QUERY: [(&str, Setting); 3] = [
    ("binary", Setting::Binary),
    ("scalar4bits", Setting::Scalar4Bits),
    ("scalar8bits", Setting::Scalar8Bits),
];

/// The options that a text gives behind its kind of quantization.
#[derive(Default)]
struct KindOptions {
    ram: Option<bool>,
    quantile: Option<f32>,
    query: Option<Setting>,
}

/// Reads a text; `None` stands for no quantization.
pub(super) fn read(text: &str) -> Result<Option<QuantizationConfig>, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let said = KindOptions::read(kind, rest)?;
    let quantization = if kind == NONE {
        return Ok(None);
    } else if kind == "int8" {
        Quantization::Scalar(ScalarQuantization {
            r#type: QuantizationType::Int8.into(),
            quantile: said.quantile,
            always_ram: said.ram,
            memory: None,
        })
    } else if let Some(compression) = named(&PRODUCT, kind) {
        Quantization::Product(ProductQuantization {
            compression: compression.into(),
            always_ram: said.ram,
            memory: None,
        })
    } else if let Some(encoding) = named(&BINARY, kind) {
        let variant = |setting: Setting| Some(Variant::Setting(setting.into()));
        let query = |setting| BinaryQuantizationQueryEncoding {
            variant: variant(setting),
        };
        Quantization::Binary(BinaryQuantization {
            always_ram: said.ram,
            encoding: (kind != "binary").then(|| encoding.into()),
            query_encoding: said.query.map(query),
            memory: None,
        })
    } else if let Some(bits) = named(&TURBO, kind) {
        Quantization::Turboquant(TurboQuantization {
            always_ram: said.ram,
            bits: Some(bits.into()),
            memory: None,
        })
    } else {
        return Err(format!(
            "`{kind}` is no quantization: expected none, int8, product-x4 to -x64, binary, binary-1.5bit, binary-2bit \
             or turbo-1bit to -8bit"
        ));
    };
    Ok(Some(QuantizationConfig {
        quantization: Some(quantization),
    }))
}

/// The text of a quantization.
pub(super) fn show(config: Option<&QuantizationConfig>) -> String {
    let Some(quantization) = config.and_then(|config| config.quantization) else {
        return NONE.to_owned();
    };
    match quantization {
        Quantization::Scalar(it) => {
            let quantile = it.quantile.map(|quantile| format!(":quantile={quantile}"));
            let quantile = quantile.unwrap_or_default();
            format!("int8{quantile}{}", place(it.always_ram, it.memory))
        }
        Quantization::Product(it) => {
            let kind = name(&PRODUCT, it.compression);
            format!("{kind}{}", place(it.always_ram, it.memory))
        }
        Quantization::Binary(it) => {
            let kind = name(&BINARY, it.encoding.unwrap_or_default());
            let query = it.query_encoding.and_then(|query| query.variant);
            let query =
                query.map(|Variant::Setting(query)| format!(":query={}", name(&QUERY, query)));
            let query = query.unwrap_or_default();
            format!("{kind}{query}{}", place(it.always_ram, it.memory))
        }
        Quantization::Turboquant(it) => {
            let bits = it.bits.unwrap_or(TurboQuantBitSize::Bits4.into());
            let kind = name(&TURBO, bits);
            format!("{kind}{}", place(it.always_ram, it.memory))
        }
    }
}

/// The quantization as a change of a collection that has another one.
pub(super) fn change(config: Option<QuantizationConfig>) -> QuantizationConfigDiff {
    let wanted = config.and_then(|config| config.quantization);
    let quantization = match wanted {
        None => Changed::Disabled(Disabled {}),
        Some(Quantization::Scalar(it)) => Changed::Scalar(it),
        Some(Quantization::Product(it)) => Changed::Product(it),
        Some(Quantization::Binary(it)) => Changed::Binary(it),
        Some(Quantization::Turboquant(it)) => Changed::Turboquant(it),
    };
    QuantizationConfigDiff {
        quantization: Some(quantization),
    }
}

/// Bytes that the quantized copy of one vector takes.
#[must_use]
pub(super) fn bytes(config: Option<&QuantizationConfig>, dimensions: u64) -> u64 {
    let bits = |tenths: u64| (dimensions * tenths).div_ceil(80);
    match config.and_then(|config| config.quantization) {
        None => 0,
        // A vector has its offset beside its bytes.
        Some(Quantization::Scalar(_)) => dimensions + 4,
        Some(Quantization::Product(it)) => {
            let ratio = match it.compression() {
                CompressionRatio::X4 => 4,
                CompressionRatio::X8 => 8,
                CompressionRatio::X16 => 16,
                CompressionRatio::X32 => 32,
                CompressionRatio::X64 => 64,
            };
            (dimensions * 4).div_ceil(ratio)
        }
        Some(Quantization::Binary(it)) => match it.encoding() {
            BinaryQuantizationEncoding::OneBit => bits(10),
            BinaryQuantizationEncoding::OneAndHalfBits => bits(15),
            BinaryQuantizationEncoding::TwoBits => bits(20),
        },
        Some(Quantization::Turboquant(it)) => match it.bits() {
            TurboQuantBitSize::Bits1 => bits(10),
            TurboQuantBitSize::Bits15 => bits(15),
            TurboQuantBitSize::Bits2 => bits(20),
            TurboQuantBitSize::Bits4 => bits(40),
            TurboQuantBitSize::Bits8 => bits(80),
        },
    }
}

/// Whether the quantized copy is held in memory wherever the vectors lie.
pub(super) fn is_in_memory(config: Option<&QuantizationConfig>) -> bool {
    let ram = config
        .and_then(|config| config.quantization)
        .map(|it| match it {
            Quantization::Scalar(it) => it.always_ram,
            Quantization::Product(it) => it.always_ram,
            Quantization::Binary(it) => it.always_ram,
            Quantization::Turboquant(it) => it.always_ram,
        });
    ram.flatten() == Some(true)
}

impl KindOptions {
    fn read(kind: &str, rest: &str) -> Result<Self, String> {
        let mut said = Self::default();
        for part in rest.split(':').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None if part == "ram" && kind != NONE => said.ram = Some(true),
                Some(("quantile", value)) if kind == "int8" => {
                    let quantile = value.parse().ok();
                    let within = quantile.filter(|quantile| (0.5..=1.0).contains(quantile));
                    let wrong = || format!("quantile `{value}` is not a number from 0.5 to 1");
                    said.quantile = Some(within.ok_or_else(wrong)?);
                }
                Some(("query", value)) if kind.starts_with("binary") => {
                    let wrong = || {
                        format!(
                            "query `{value}` is unknown: expected binary, scalar4bits or scalar8bits"
                        )
                    };
                    said.query = Some(named(&QUERY, value).ok_or_else(wrong)?);
                }
                _ => return Err(format!("`{part}` cannot be said of quantization `{kind}`")),
            }
        }
        Ok(said)
    }
}

fn named<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<T> {
    let mut entries = table.iter();
    entries.find(|(known, _)| *known == name).map(|(_, it)| *it)
}

fn name<T: Copy + Into<i32>>(table: &[(&'static str, T)], number: i32) -> String {
    let mut entries = table.iter();
    let known = entries.find(|(_, it)| (*it).into() == number);
    known.map_or_else(
        || format!("unknown-{number}"),
        |(name, _)| (*name).to_owned(),
    )
}

fn place(always_ram: Option<bool>, memory: Option<i32>) -> String {
    let ram = if always_ram == Some(true) { ":ram" } else { "" };
    let memory = memory.and_then(|memory| Memory::try_from(memory).ok());
    let memory = memory.map(|memory| format!(":memory={}", memory.as_str_name()));
    format!("{ram}{}", memory.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantization_is_read_as_it_is_shown() {
        for text in [
            "none",
            "int8",
            "int8:ram",
            "int8:quantile=0.99:ram",
            "product-x16:ram",
            "binary",
            "binary-1.5bit",
            "binary-2bit:query=scalar8bits:ram",
            "turbo-4bit",
        ] {
            assert_eq!(show(read(text).unwrap().as_ref()), text);
        }
    }

    #[test]
    fn what_is_no_quantization_is_refused_with_what_would_be_one() {
        for (text, reason) in [
            ("int4", "expected none, int8"),
            ("int8:quantile=2", "from 0.5 to 1"),
            ("product-x16:quantile=0.9", "cannot be said"),
            ("binary:query=scalar16bits", "scalar4bits"),
            ("none:ram", "cannot be said"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_copy_takes_as_many_bytes_as_its_kind_says() {
        let bytes = |text| bytes(read(text).unwrap().as_ref(), 384);
        assert_eq!(["none", "int8"].map(bytes), [0, 388]);
        assert_eq!(["product-x16", "product-x64"].map(bytes), [96, 24]);
        assert_eq!(
            ["binary", "binary-1.5bit", "turbo-4bit"].map(bytes),
            [48, 72, 192]
        );
    }
}

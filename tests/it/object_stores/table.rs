//! A Parquet file of several row groups, with columns of all kinds that matter.

use std::ops::Range;

use anyhow::Context as _;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

const SCHEMA: &str = "message rows {
    required binary _id (UTF8); optional binary title (UTF8); optional binary text (UTF8);
    required int64 year; optional group tags (LIST) { repeated group list { optional binary element (UTF8); } }
}";

/// The cells of a column in one row group.
enum Cells {
    /// Texts, with the levels that say which of them are there, and where lists start.
    Texts(Vec<ByteArray>, Option<Vec<i16>>, Option<Vec<i16>>),
    Numbers(Vec<i64>),
}

/// Rows with the ids `r0` to `r<groups * rows - 1>`, the last without a text.
pub(crate) fn table(groups: usize, rows: usize) -> anyhow::Result<Vec<u8>> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let schema = parse_message_type(SCHEMA)?.into();
    let properties = properties.build().into();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
    for group in 0..groups {
        let mut columns = writer.next_row_group()?;
        for cells in cells(group * rows..(group + 1) * rows, groups * rows - 1) {
            let column = columns
                .next_column()?
                .context("the schema has fewer columns")?;
            cells.write(column)?;
        }
        columns.close()?;
    }
    Ok(writer.into_inner()?)
}

fn cells(numbers: Range<usize>, without_text: usize) -> [Cells; 5] {
    let rows = numbers.len();
    let all = |of: fn(usize) -> String| -> Vec<ByteArray> {
        numbers.clone().map(|n| of(n).into_bytes().into()).collect()
    };
    let mut texts = all(text);
    if numbers.contains(&without_text) {
        texts.remove(without_text - numbers.start);
    }
    let there = numbers
        .clone()
        .map(|n| i16::from(n != without_text))
        .collect();
    [
        Cells::Texts(all(|n| format!("r{n}")), None, None),
        Cells::Texts(all(|n| format!("Row {n}")), Some(vec![1; rows]), None),
        Cells::Texts(texts, Some(there), None),
        Cells::Numbers(vec![1999; rows]),
        Cells::Texts(
            all(|_| "tag".to_owned()),
            Some(vec![3; rows]),
            Some(vec![0; rows]),
        ),
    ]
}

fn text(row: usize) -> String {
    format!("The text of row {row} in a table. {}", "word ".repeat(40))
}

impl Cells {
    fn write(&self, mut column: SerializedColumnWriter<'_>) -> anyhow::Result<()> {
        match self {
            Self::Texts(values, there, starts) => {
                let typed = column.typed::<ByteArrayType>();
                typed.write_batch(values, there.as_deref(), starts.as_deref())?;
            }
            Self::Numbers(values) => {
                column
                    .typed::<Int64Type>()
                    .write_batch(values, None, None)?;
            }
        }
        Ok(column.close()?)
    }
}

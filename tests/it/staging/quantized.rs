//! A model from afar is quantized like one that is here.

use tests::tiny_embed;

use super::{content, stage, staged, web_of_tiny};

#[tokio::test]
async fn a_graph_that_is_downloaded_is_quantized_as_one_in_a_directory() -> anyhow::Result<()> {
    let options = ["--quantize", "fp16"];
    let here = tempfile::tempdir()?;
    let output = stage(&tiny_embed().display().to_string(), here.path(), &options).await?;
    let expected = staged(&output, here.path());
    let (web, models) = (web_of_tiny("m").await?, tempfile::tempdir()?);
    let output = stage(&web.url("m"), models.path(), &options).await?;
    assert_eq!(staged(&output, models.path()), expected);
    let directory = models.path().join(&expected);
    assert_eq!(content(&directory)?, content(&here.path().join(&expected))?);
    Ok(())
}

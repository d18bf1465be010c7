//! Source: parses where a model comes from. No request is sent yet.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ClientOptions, HeaderMap, HeaderValue, ObjectStore};
use runtime::object_stores::{StoreLocation, is_url, web};

const HUB: &str = "hf://";
/// Address of the hub, unless `HF_ENDPOINT` says otherwise.
const HUB_ENDPOINT: &str = "https://huggingface.co";

#[derive(Clone, Debug)]
pub(super) enum Source {
    Directory(PathBuf),
    /// A folder of an object store or a web server.
    Remote(Remote),
}

#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Path of the folder in the store.
    pub(super) folder: Path,
    /// Its URL, without credentials.
    pub(super) url: String,
    /// Whether `HF_TOKEN` decides about access.
    pub(super) is_hub: bool,
}

impl Source {
    /// An error says what is wrong with the argument.
    pub(super) fn parse(argument: &str) -> Result<Self, String> {
        if let Some(model) = argument.strip_prefix(HUB) {
            return hub(model).map(Self::Remote);
        }
        if is_url(argument) {
            let place = StoreLocation::of_url(argument);
            let place = place.map_err(|error| {
                format!("{error}; a model of the hub is hf://ORGANIZATION/NAME")
            })?;
            let url = place.url_of(&place.path);
            return Ok(Self::Remote(Remote {
                store: place.store,
                folder: place.path,
                url: url.trim_end_matches('/').to_owned(),
                is_hub: false,
            }));
        }
        let directory = PathBuf::from(argument);
        if directory.is_dir() {
            Ok(Self::Directory(directory))
        } else {
            Err(format!("`{argument}` is not a directory"))
        }
    }
}

/// `organization/name[@revision]`, as a folder of the hub's web server.
fn hub(model: &str) -> Result<Remote, String> {
    let (repository, revision) = model.split_once('@').unwrap_or((model, "main"));
    let is_name = |part: &str| {
        let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(usual)
    };
    let parts: Vec<&str> = repository.split('/').collect();
    let is_model = matches!(parts.len(), 1 | 2) && parts.iter().all(|part| is_name(part));
    if !is_model || !revision.split('/').all(is_name) {
        return Err(format!(
            "`{HUB}{model}` is not hf://ORGANIZATION/NAME[@REVISION]"
        ));
    }
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| HUB_ENDPOINT.to_owned());
    let endpoint = endpoint.trim_end_matches('/');
    // Says what is wrong with it without repeating its secrets.
    StoreLocation::of_url(endpoint).map_err(|error| format!("HF_ENDPOINT: {error}"))?;
    let revision = revision.replace('/', "%2F");
    let url = format!("{endpoint}/{repository}/resolve/{revision}");
    let options = ClientOptions::new().with_default_headers(login()?);
    let store = web(&url, options).map_err(|error| format!("HF_ENDPOINT: {error}"))?;
    Ok(Remote {
        store: Arc::new(store),
        folder: Path::default(),
        url,
        is_hub: true,
    })
}

/// Goes to the endpoint alone: where it leads elsewhere, the header is left out.
fn login() -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let token = std::env::var("HF_TOKEN").unwrap_or_default();
    if !token.trim().is_empty() {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut value =
            value.map_err(|_| "HF_TOKEN has characters that no token has".to_owned())?;
        value.set_sensitive(true);
        headers.insert("authorization", value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(argument: &str) -> Result<String, String> {
        match Source::parse(argument)? {
            Source::Remote(remote) => Ok(remote.url),
            Source::Directory(directory) => Ok(directory.display().to_string()),
        }
    }

    #[test]
    fn a_model_of_the_hub_is_a_folder_of_its_server() {
        for (argument, expected) in [
            ("hf://BAAI/bge-m3", "/BAAI/bge-m3/resolve/main"),
            ("hf://BAAI/bge-m3@v1.5", "/BAAI/bge-m3/resolve/v1.5"),
            (
                "hf://BAAI/bge-m3@refs/pr/7",
                "/BAAI/bge-m3/resolve/refs%2Fpr%2F7",
            ),
            ("hf://gpt2@0123abc", "/gpt2/resolve/0123abc"),
        ] {
            let url = url(argument).unwrap();
            assert!(
                url.starts_with("https://") && url.ends_with(expected),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for argument in [
            "hf://",
            "hf://a/b/c",
            "hf://a/..",
            "hf://../a",
            "hf://a/b@",
            "hf://a/b@../../c",
            "hf://a/b?token=hidden",
            "file:///etc",
            "ftp://host/model",
            "https://me:hidden@host/model",
            "/no/such/directory",
        ] {
            let problem = url(argument).unwrap_err();
            assert!(!problem.contains("me:hidden"), "{problem}");
        }
    }
}

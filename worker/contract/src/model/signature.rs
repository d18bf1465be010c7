//! The signature of a manifest: minisign's, in a file beside it.
//!
//! The manifest names every file with its digest, so that its signature vouches for all of them.

use std::io::ErrorKind;
use std::path::Path;

use minisign_verify::{Error, PublicKey, Signature};

use super::{MANIFEST, ModelError};

/// File name of the manifest's signature.
pub const SIGNATURE: &str = "manifest.json.minisig";

/// Checks that `signature`, the text of a signature file, is that of `manifest` with the key in the file `key`.
/// `directory` is the model's, for messages.
///
/// # Errors
/// [`ModelError::Key`] if the key cannot be used, [`ModelError::Signature`] if it has not signed this manifest.
pub fn check_signature(
    directory: &Path,
    manifest: &[u8],
    signature: &str,
    key: &Path,
) -> Result<(), ModelError> {
    let public_key = read_key(key)?;
    let refused = |reason: &str| ModelError::Signature {
        path: directory.join(MANIFEST),
        key: key.to_owned(),
        reason: reason.to_owned(),
    };
    let signature =
        Signature::decode(signature).map_err(|_| refused("is no minisign signature"))?;
    let verified = public_key.verify(manifest, &signature, false);
    verified.map_err(|error| {
        let other_key = matches!(error, Error::UnexpectedKeyId);
        refused(if other_key {
            "is another key's"
        } else {
            "is not that of its content"
        })
    })
}

/// Checks the signature that lies in a model's directory.
pub(super) fn check_signed(
    directory: &Path,
    manifest: &[u8],
    key: &Path,
) -> Result<(), ModelError> {
    let path = directory.join(SIGNATURE);
    let signature = std::fs::read_to_string(&path).map_err(|source| {
        if source.kind() == ErrorKind::NotFound {
            let (path, key) = (directory.join(MANIFEST), key.to_owned());
            return ModelError::Unsigned { path, key };
        }
        ModelError::Read { path, source }
    })?;
    check_signature(directory, manifest, &signature, key)
}

fn read_key(path: &Path) -> Result<PublicKey, ModelError> {
    let unusable = |reason: String| ModelError::Key {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let text = text.trim();
    // The file of minisign has a comment in its first line; its second line alone is what people pass around.
    let key = if text.contains('\n') {
        PublicKey::decode(text)
    } else {
        PublicKey::from_base64(text)
    };
    key.map_err(|_| unusable("it is no minisign public key".to_owned()))
}

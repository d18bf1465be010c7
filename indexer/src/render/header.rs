//! Header: says who wrote a file, proves that nobody changed it since, and explains its numbers.

use contract::digest::Digest;

use crate::fleet::Derived;

const MARK: &str = "# Rendered by `indexer render`: change the decisions and render again.";
const DIGEST: &str = "# Digest of what follows: ";

/// Puts the header in front of a file.
pub fn on_top_of(content: &str, derived: &Derived) -> String {
    let mut body = String::from("#\n");
    for (name, value, why) in derived.explained() {
        let line = format!("# {name:<20} {value:<32} {why}");
        body.push_str(line.trim_end());
        body.push('\n');
    }
    body.push_str("#\n");
    body.push_str(content);
    let digest = Digest::of(body.as_bytes());
    format!("{MARK}\n{DIGEST}{}\n{body}", digest.as_str())
}

/// Whether a file is as it was rendered, by this version or another.
pub fn is_ours(file: &str) -> bool {
    let Some(rest) = file
        .strip_prefix(MARK)
        .and_then(|rest| rest.strip_prefix('\n'))
    else {
        return false;
    };
    let told = rest
        .strip_prefix(DIGEST)
        .and_then(|rest| rest.split_once('\n'));
    told.is_some_and(|(digest, body)| digest == Digest::of(body.as_bytes()).as_str())
}

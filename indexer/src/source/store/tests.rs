use super::*;

fn understood(url: &str) -> Result<Location, String> {
    Location::understand(url).map_err(|error| error.to_string())
}

#[test]
fn a_url_with_a_known_extension_is_one_object_and_any_other_a_prefix() {
    for (url, is_one) in [
        ("http://host/a/b.jsonl", true),
        ("http://host/a/b.jsonl/", false),
        ("https://host:8080/a", false),
        ("https://host", false),
        ("http://host/with%20space.PARQUET", true),
    ] {
        let location = understood(url).unwrap();
        assert_eq!(location.is_one(), is_one, "{url}");
    }
    let location = understood("http://host/a%20b/c.md").unwrap();
    assert_eq!(location.name(), "http://host/a b/c.md");
    assert_eq!(location.holder_of("c.md").unwrap(), Some(location.name()));
    assert_eq!(location.holder_of("b.md").unwrap(), None);
}

#[test]
fn only_arguments_with_a_scheme_are_urls() {
    for (argument, expected) in [
        ("s3://bucket", true),
        ("http://host/x.md", true),
        ("ftp://host/x.md", true),
        ("x.md", false),
        ("a/b://c", false),
        ("://x", false),
    ] {
        assert_eq!(is_url(argument), expected, "{argument}");
    }
}

#[test]
fn secrets_are_refused_and_not_repeated() {
    for url in [
        "https://user:hidden@host/x.md",
        "https://hidden@host/x.md",
        "s3://key:hidden@bucket/x.md",
        "https://host/x.md?token=hidden",
        "https://host/x.md#hidden",
        "https://user:hidden@:/x.md",
    ] {
        let problem = understood(url).unwrap_err();
        assert!(!problem.contains("hidden"), "{problem}");
        assert!(problem.contains("x.md"), "{problem}");
    }
    let unknown = understood("ftp://host/x.md").unwrap_err();
    assert!(
        unknown.contains("`ftp`") && unknown.contains("https"),
        "{unknown}"
    );
}

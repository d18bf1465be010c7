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

use documents::document::Markup;
use serde_json::json;

use super::*;

fn document(meta: &Value) -> Document {
    Document {
        id: "d".to_owned(),
        title: Some("T".to_owned()),
        meta: meta.as_object().unwrap().clone(),
        text: Content::Text("text".to_owned()),
        markup: Markup::Plain,
        places: documents::document::Places::Unknown,
        read: documents::document::Amount::default(),
        dropped: Ledger::default(),
        origin: Origin::stdin(),
    }
}

#[test]
fn a_field_of_the_document_is_not_overwritten() {
    let plain = meta_of(&document(&json!({ "year": 1999 })));
    assert_eq!(
        Value::Object(plain),
        json!({ "year": 1999, "title": "T", "source": "stdin" })
    );
    let own = meta_of(&document(&json!({ "source": "lecture" })));
    assert_eq!(
        Value::Object(own),
        json!({ "title": "T", "source": "lecture", "source_file": "stdin" })
    );
}

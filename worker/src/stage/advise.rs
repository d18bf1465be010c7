//! Advise: what a directory leaves open or says in a way that this program does not follow.

use contract::model::{Identity, Pooling, TOKENIZER};
use contract::tokenizer::Tokenizer;
use contract::topology::Task;

use super::StageConfig;
use crate::layout::{Layout, usual};
use crate::session::Session;

/// Says what the directory does not say, and would be another vector if it were meant otherwise.
pub(super) fn advise(config: &StageConfig, layout: &Layout) {
    if layout.task == Task::Rescore {
        return;
    }
    if !layout.says_normalize && config.normalize.is_none() {
        tracing::warn!(
            target: "worker",
            "the directory has no modules.json, which says whether vectors are scaled to length 1: they are not; give \
             --normalize true or false"
        );
    }
    if !layout.other_prompts.is_empty() && config.says_no_prompt() {
        tracing::warn!(
            target: "worker",
            prompts = layout.other_prompts.join(", "),
            "config_sentence_transformers.json has prompts whose names are neither query nor document: they are not used; \
             give --query-prompt or --document-prompt"
        );
    }
    if let Some(name) = layout
        .stand_in_prompt
        .as_ref()
        .filter(|_| config.says_no_prompt())
    {
        tracing::warn!(
            target: "worker",
            default_prompt_name = name,
            "the default prompt is put before queries and documents that have no prompt of their own, as `encode` of \
             sentence-transformers does; its `encode_query` and `encode_document` put none there; give --query-prompt and \
             --document-prompt to choose, empty for none"
        );
    }
    let unsaid = layout.prefixes.query.is_empty() && layout.prefixes.document.is_empty();
    let names = [
        config.source.as_str(),
        &layout.original_name,
        config.name.as_str(),
    ];
    let usual = names.iter().find_map(|name| usual(last(name)));
    if let Some(usual) = usual.filter(|_| unsaid && config.says_no_prompt()) {
        tracing::warn!(
            target: "worker",
            query = usual.query,
            document = usual.document,
            "models of this family are used with prompts, and the directory has none: it is staged without; give \
             --query-prompt and --document-prompt, empty for none"
        );
    }
}

/// The last part of a path or a URL, without a revision.
fn last(name: &str) -> &str {
    let name = name.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split('@').next().unwrap_or(name)
}

/// Refuses a directory whose texts are to be written in small letters by the library, where its tokenizer does not do that.
pub(super) fn check_letters(layout: &Layout, tokenizer: &Tokenizer) -> anyhow::Result<()> {
    const TEXT: &str = "The Tide Goes OUT";
    let Some(file) = &layout.lowercased_by else {
        return Ok(());
    };
    let same = tokenizer.encode(TEXT)? == tokenizer.encode(&TEXT.to_lowercase())?;
    anyhow::ensure!(
        same,
        "`{}` says `do_lower_case`: true, and tokenizer.json tells large letters from small ones; give it the normalizer \
         `Lowercase`, or take the setting out",
        layout.directory.join(file).display()
    );
    Ok(())
}

/// Warns of tokens that the model has no row for: a text with one of them is refused when it is embedded.
pub(super) fn warn_of_unknown_tokens(layout: &Layout, tokenizer: &Tokenizer) {
    let tokens = tokenizer.vocabulary();
    if let Some(rows) = layout.vocabulary.filter(|&rows| tokens > rows) {
        tracing::warn!(
            target: "worker",
            "`{TOKENIZER}` has {tokens} tokens, and graph `{}` has rows for {rows}: texts with a token from {rows} on are \
             refused; is it the tokenizer of this model?",
            layout.onnx
        );
    }
}

/// Refuses a prompt that is left out of a pooling which takes one token: which one that is then is not the same in all
/// releases of the library.
pub(super) fn check_prompt(identity: &Identity) -> anyhow::Result<()> {
    let head = &identity.head;
    let takes_first = identity.pooling == Pooling::Cls || head.concatenated.contains(&Pooling::Cls);
    let prefixes = &identity.prefixes;
    let has_prompt = !prefixes.query.is_empty() || !prefixes.document.is_empty();
    anyhow::ensure!(
        !(head.exclude_prompt && takes_first && has_prompt),
        "the pooling says `include_prompt`: false and takes the first token (cls), and there are prompts: sentence-transformers \
         takes the first token of all in some releases, and the first one behind the prompt in others; give --query-prompt \"\" \
         and --document-prompt \"\", or another --pooling"
    );
    Ok(())
}

/// Refuses a graph that is given places of tokens, and counts them from behind the padding token.
pub(super) fn check_places(layout: &Layout, session: &Session) -> anyhow::Result<()> {
    anyhow::ensure!(
        !(layout.counts_from_padding && session.takes_places()),
        "graph `{}` of a model of the RoBERTa family has the input `position_ids`, whose numbers begin behind the padding \
         token; export it without that input, so that it counts by itself",
        layout.onnx
    );
    Ok(())
}

//! The settings of a collection by name: how each is read, and written where it is an option.
//!
//! The name is what people and records call it. A value is text, the same for the same setting, so that two collections
//! are compared by comparing texts.

#![expect(
    deprecated,
    reason = "servers before 1.19 know only the fields that newer ones replace"
)]

use std::fmt::Display;
use std::str::FromStr;

use qdrant_client::qdrant::{Datatype, Memory};

use super::quantization;
use super::settings::Settings;

/// When a setting of a collection that is there can be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changes {
    /// A request changes it.
    InPlace,
    /// Never: another collection has to be made.
    ByRebuild,
}

type Set = fn(&mut Settings, &str) -> Result<(), String>;

pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) changes: Changes,
    /// Its value, `None` where the server decides.
    pub(super) get: fn(&Settings) -> Option<String>,
    /// Writes it; `None` where it is kept from generation to generation and is no option.
    pub(super) set: Option<Set>,
}

macro_rules! hnsw {
    ($name:literal, $field:ident) => {
        Field {
            name: concat!("hnsw.", $name),
            changes: Changes::InPlace,
            get: |it| shown(it.hnsw.$field),
            set: Some(|it, text| {
                let value = Some(number(text)?);
                it.hnsw.$field = value;
                // What is said of the vector itself would hold against it.
                if let Some(own) = &mut it.vector.hnsw_config
                    && own.$field.is_some()
                {
                    own.$field = value;
                }
                Ok(())
            }),
        }
    };
}

macro_rules! strict {
    ($name:literal, $field:ident) => {
        Field {
            name: concat!("strict.", $name),
            changes: Changes::InPlace,
            get: |it| shown(it.strict_mode.as_ref()?.$field),
            set: Some(|it, text| {
                let strict = it.strict_mode.get_or_insert_default();
                strict.$field = Some(number(text)?);
                Ok(())
            }),
        }
    };
}

macro_rules! kept {
    ($name:literal, $get:expr) => {
        Field {
            name: $name,
            changes: Changes::InPlace,
            get: $get,
            set: None,
        }
    };
}

pub(super) static FIELDS: [Field; 61] = [
    Field {
        name: "shards",
        changes: Changes::ByRebuild,
        get: |it| shown(it.shards),
        set: Some(|it, text| number(text).map(|value| it.shards = Some(value))),
    },
    // The number can be changed by a request, but no replica comes or goes by that.
    Field {
        name: "replication",
        changes: Changes::ByRebuild,
        get: |it| shown(it.replication),
        set: Some(|it, text| number(text).map(|value| it.replication = Some(value))),
    },
    Field {
        name: "write_consistency",
        changes: Changes::InPlace,
        get: |it| shown(it.write_consistency),
        set: Some(|it, text| number(text).map(|value| it.write_consistency = Some(value))),
    },
    Field {
        name: "datatype",
        changes: Changes::ByRebuild,
        get: |it| Some(datatype(it.vector.datatype())),
        set: Some(|it, text| {
            it.vector.datatype = Some(named_datatype(text)?.into());
            Ok(())
        }),
    },
    Field {
        name: "vectors",
        changes: Changes::InPlace,
        get: |it| Some(place(it.vector.on_disk, it.vector.memory)),
        set: Some(|it, text| {
            (it.vector.on_disk, it.vector.memory) = (Some(is_disk(text)?), None);
            Ok(())
        }),
    },
    Field {
        name: "payload",
        changes: Changes::InPlace,
        get: |it| {
            let memory = it.payload.and_then(|payload| payload.memory);
            (it.payload_on_disk.is_some() || memory.is_some())
                .then(|| place(it.payload_on_disk, memory))
        },
        set: Some(|it, text| {
            (it.payload_on_disk, it.payload) = (Some(is_disk(text)?), None);
            Ok(())
        }),
    },
    Field {
        name: "quantization",
        changes: Changes::InPlace,
        get: |it| Some(quantization::show(it.quantization.as_ref())),
        set: Some(|it, text| {
            it.quantization = quantization::read(text)?;
            // What is said of the vector itself would hold against it.
            it.vector.quantization_config = None;
            Ok(())
        }),
    },
    Field {
        name: "search.rescore",
        changes: Changes::InPlace,
        get: |it| shown(it.rescore),
        set: Some(|it, text| number(text).map(|value| it.rescore = Some(value))),
    },
    Field {
        name: "search.oversampling",
        changes: Changes::InPlace,
        get: |it| shown(it.oversampling),
        set: Some(|it, text| {
            let factor: f64 = number(text)?;
            if !(1.0..=100.0).contains(&factor) {
                return Err(format!("`{text}` is not from 1 to 100"));
            }
            it.oversampling = Some(factor);
            Ok(())
        }),
    },
    hnsw!("m", m),
    hnsw!("ef_construct", ef_construct),
    hnsw!("full_scan_threshold", full_scan_threshold),
    hnsw!("max_indexing_threads", max_indexing_threads),
    hnsw!("on_disk", on_disk),
    hnsw!("payload_m", payload_m),
    hnsw!("inline_storage", inline_storage),
    strict!("enabled", enabled),
    strict!("max_query_limit", max_query_limit),
    strict!("max_timeout", max_timeout),
    strict!("unindexed_filtering_retrieve", unindexed_filtering_retrieve),
    strict!("unindexed_filtering_update", unindexed_filtering_update),
    strict!("search_max_hnsw_ef", search_max_hnsw_ef),
    strict!("search_allow_exact", search_allow_exact),
    strict!("search_max_oversampling", search_max_oversampling),
    strict!("upsert_max_batchsize", upsert_max_batchsize),
    strict!("search_max_batchsize", search_max_batchsize),
    strict!(
        "max_collection_vector_size_bytes",
        max_collection_vector_size_bytes
    ),
    strict!("read_rate_limit", read_rate_limit),
    strict!("write_rate_limit", write_rate_limit),
    strict!(
        "max_collection_payload_size_bytes",
        max_collection_payload_size_bytes
    ),
    strict!("filter_max_conditions", filter_max_conditions),
    strict!("condition_max_size", condition_max_size),
    strict!("max_points_count", max_points_count),
    strict!("max_payload_index_count", max_payload_index_count),
    strict!("max_resident_memory_percent", max_resident_memory_percent),
    kept!("strict.multivector", |it| debug(
        it.strict_mode.as_ref()?.multivector_config.as_ref()
    )),
    kept!("strict.sparse", |it| debug(
        it.strict_mode.as_ref()?.sparse_config.as_ref()
    )),
    kept!("hnsw.memory", |it| memory(it.hnsw.memory)),
    kept!("id_tracker", |it| memory(it.id_tracker?.memory)),
    kept!("read_fan_out_factor", |it| shown(it.read_fan_out_factor)),
    kept!("read_fan_out_delay_ms", |it| shown(
        it.read_fan_out_delay_ms
    )),
    kept!("vector.quantization", |it| {
        let own = it.vector.quantization_config.as_ref();
        own.map(|own| quantization::show(Some(own)))
    }),
    kept!("vector.hnsw.m", |it| shown(it.vector.hnsw_config?.m)),
    kept!("vector.hnsw.ef_construct", |it| shown(
        it.vector.hnsw_config?.ef_construct
    )),
    kept!("vector.hnsw.full_scan_threshold", |it| {
        shown(it.vector.hnsw_config?.full_scan_threshold)
    }),
    kept!("vector.hnsw.max_indexing_threads", |it| {
        shown(it.vector.hnsw_config?.max_indexing_threads)
    }),
    kept!("vector.hnsw.on_disk", |it| shown(
        it.vector.hnsw_config?.on_disk
    )),
    kept!("vector.hnsw.payload_m", |it| shown(
        it.vector.hnsw_config?.payload_m
    )),
    kept!("vector.hnsw.inline_storage", |it| shown(
        it.vector.hnsw_config?.inline_storage
    )),
    kept!("vector.hnsw.memory", |it| memory(
        it.vector.hnsw_config?.memory
    )),
    kept!("optimizers.deleted_threshold", |it| shown(
        it.optimizers.deleted_threshold
    )),
    kept!("optimizers.vacuum_min_vector_number", |it| {
        shown(it.optimizers.vacuum_min_vector_number)
    }),
    kept!("optimizers.default_segment_number", |it| shown(
        it.optimizers.default_segment_number
    )),
    kept!("optimizers.max_segment_size", |it| shown(
        it.optimizers.max_segment_size
    )),
    kept!("optimizers.memmap_threshold", |it| shown(
        it.optimizers.memmap_threshold
    )),
    kept!("optimizers.indexing_threshold", |it| shown(
        it.optimizers.indexing_threshold
    )),
    kept!("optimizers.flush_interval_sec", |it| shown(
        it.optimizers.flush_interval_sec
    )),
    kept!("optimizers.max_optimization_threads", |it| {
        debug(it.optimizers.max_optimization_threads.as_ref())
    }),
    kept!("optimizers.prevent_unoptimized", |it| shown(
        it.optimizers.prevent_unoptimized
    )),
    Field {
        name: "wal",
        changes: Changes::ByRebuild,
        get: |it| debug(it.wal.as_ref()),
        set: None,
    },
    Field {
        name: "bm25",
        changes: Changes::ByRebuild,
        get: |it| it.bm25.as_ref().map(|bm25| bm25.to_json().to_string()),
        set: None,
    },
];

/// The setting of a name.
pub(super) fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

fn shown(value: Option<impl Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn debug(value: Option<&impl std::fmt::Debug>) -> Option<String> {
    value.map(|value| format!("{value:?}"))
}

fn memory(value: Option<i32>) -> Option<String> {
    let memory = Memory::try_from(value?);
    Some(
        memory
            .map_or("unknown", |memory| memory.as_str_name())
            .to_owned(),
    )
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let wanted = if text.parse::<f64>().is_ok() {
        "a number that fits here"
    } else {
        "a number, or true or false for a switch"
    };
    text.parse()
        .map_err(|_unreadable| format!("`{text}` is not {wanted}"))
}

fn place(on_disk: Option<bool>, place: Option<i32>) -> String {
    let plain = if on_disk == Some(true) {
        "disk"
    } else {
        "memory"
    };
    memory(place).unwrap_or_else(|| plain.to_owned())
}

fn is_disk(text: &str) -> Result<bool, String> {
    match text {
        "memory" => Ok(false),
        "disk" => Ok(true),
        _ => Err(format!("`{text}` is neither memory nor disk")),
    }
}

fn datatype(datatype: Datatype) -> String {
    match datatype {
        Datatype::Default | Datatype::Float32 => "float32".to_owned(),
        Datatype::Uint8 => "uint8".to_owned(),
        Datatype::Float16 => "float16".to_owned(),
        other @ (Datatype::Turbo4 | Datatype::Turbo8 | Datatype::Turbo16) => {
            other.as_str_name().to_lowercase()
        }
    }
}

fn named_datatype(text: &str) -> Result<Datatype, String> {
    match text {
        "float32" => Ok(Datatype::Float32),
        "float16" => Ok(Datatype::Float16),
        "uint8" => Ok(Datatype::Uint8),
        _ => Err(format!("`{text}` is none of float32, float16 and uint8")),
    }
}

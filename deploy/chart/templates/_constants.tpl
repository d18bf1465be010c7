{{- /* Written by the tests of the indexer: the numbers that decisions are derived with. */ -}}
{{- define "ebb.constants" -}}
{
  "ack_wait": 60,
  "grace": 25,
  "ending": 25,
  "retry": 144,
  "job_tokens": 8192,
  "live_target": 60,
  "started_batches": 2,
  "most_workers": 156,
  "models": "/models",
  "defaults": {
    "gpu": "none",
    "max_workers": 8,
    "drain_target": "30m",
    "schedule": {
      "cron": "17 2 * * *",
      "time_zone": "Etc/UTC"
    }
  },
  "of_three": {
    "shards": 3,
    "replication": 2
  },
  "options": {
    "datatype": "EBB_DATATYPE",
    "hnsw": "EBB_HNSW",
    "index": "EBB_INDEX",
    "oversampling": "EBB_OVERSAMPLING",
    "payload": "EBB_PAYLOAD",
    "quantization": "EBB_QUANTIZATION",
    "replication": "EBB_REPLICATION",
    "rescore_vectors": "EBB_RESCORE_VECTORS",
    "shards": "EBB_SHARDS",
    "strict_mode": "EBB_STRICT_MODE",
    "vectors": "EBB_VECTORS",
    "write_consistency": "EBB_WRITE_CONSISTENCY"
  },
  "gpus": {
    "none": {
      "rate": 13000,
      "start": 15,
      "batch": 16384,
      "pool": "cpu",
      "resource": null
    },
    "nvidia": {
      "rate": 100000,
      "start": 60,
      "batch": 65536,
      "pool": "gpu",
      "resource": "nvidia.com/gpu"
    },
    "mig-1g.5gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.5gb"
    },
    "mig-1g.6gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.6gb"
    },
    "mig-1g.10gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.10gb"
    },
    "mig-1g.12gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.12gb"
    },
    "mig-1g.18gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.18gb"
    },
    "mig-1g.20gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.20gb"
    },
    "mig-1g.23gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.23gb"
    },
    "mig-1g.24gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.24gb"
    },
    "mig-1g.35gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.35gb"
    },
    "mig-1g.45gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.45gb"
    },
    "mig-1g.47gb": {
      "rate": 39800,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-1g.47gb"
    },
    "mig-2g.10gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.10gb"
    },
    "mig-2g.12gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.12gb"
    },
    "mig-2g.20gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.20gb"
    },
    "mig-2g.24gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.24gb"
    },
    "mig-2g.35gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.35gb"
    },
    "mig-2g.45gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.45gb"
    },
    "mig-2g.47gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.47gb"
    },
    "mig-2g.48gb": {
      "rate": 79600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-2g.48gb"
    },
    "mig-3g.20gb": {
      "rate": 119400,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-3g.20gb"
    },
    "mig-3g.40gb": {
      "rate": 119400,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-3g.40gb"
    },
    "mig-3g.47gb": {
      "rate": 119400,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-3g.47gb"
    },
    "mig-3g.48gb": {
      "rate": 119400,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-3g.48gb"
    },
    "mig-3g.71gb": {
      "rate": 119400,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-3g.71gb"
    },
    "mig-3g.90gb": {
      "rate": 119400,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-3g.90gb"
    },
    "mig-3g.93gb": {
      "rate": 119400,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-3g.93gb"
    },
    "mig-4g.20gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.20gb"
    },
    "mig-4g.24gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.24gb"
    },
    "mig-4g.40gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.40gb"
    },
    "mig-4g.47gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.47gb"
    },
    "mig-4g.48gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.48gb"
    },
    "mig-4g.71gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.71gb"
    },
    "mig-4g.90gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.90gb"
    },
    "mig-4g.93gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.93gb"
    },
    "mig-4g.96gb": {
      "rate": 159200,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-4g.96gb"
    },
    "mig-7g.40gb": {
      "rate": 278600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-7g.40gb"
    },
    "mig-7g.80gb": {
      "rate": 278600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-7g.80gb"
    },
    "mig-7g.94gb": {
      "rate": 278600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-7g.94gb"
    },
    "mig-7g.96gb": {
      "rate": 278600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-7g.96gb"
    },
    "mig-7g.141gb": {
      "rate": 278600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-7g.141gb"
    },
    "mig-7g.180gb": {
      "rate": 278600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-7g.180gb"
    },
    "mig-7g.186gb": {
      "rate": 278600,
      "start": 60,
      "batch": 65536,
      "pool": "gpu-mig",
      "resource": "nvidia.com/mig-7g.186gb"
    }
  }
}
{{- end -}}

{{- /* What follows from decisions, by the formulas of `indexer render`. Integers alone: what is divided is cut. */ -}}

{{- /* Seconds of a span of time, like 1h 30m. */ -}}
{{- define "ebb.seconds" -}}
{{- $units := dict "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+ *[a-z]+" . -1 -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+$" . | trunc 1 -}}
{{- $sum = add $sum (mul $number (get $units $unit)) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{- /* An address, or a path below the mount of a claim: of `text`, mounted at `mount`. */ -}}
{{- define "ebb.place" -}}
{{- if hasPrefix "pvc://" .text -}}
{{- $rest := trimPrefix "pvc://" .text -}}
{{- $claim := regexFind "^[^/]+" $rest -}}
{{- $path := trimPrefix $claim $rest | trimSuffix "/" -}}
{{- if eq $claim "models" -}}
{{- dict "argument" (print "/models" $path) "claim" "" | toJson -}}
{{- else -}}
{{- dict "argument" (print .mount $path) "claim" $claim | toJson -}}
{{- end -}}
{{- else -}}
{{- dict "argument" .text "claim" "" | toJson -}}
{{- end -}}
{{- end -}}

{{- /* Options of the alias as settings, a list of name and value; `three` where there are three servers. */ -}}
{{- define "ebb.options" -}}
{{- $constants := include "ebb.constants" . | fromJson -}}
{{- $options := deepCopy (.serving.options | default dict) -}}
{{- if .three -}}
{{- $options = merge $options $constants.of_three -}}
{{- end -}}
{{- $settings := list -}}
{{- range $name := keys $options | sortAlpha -}}
{{- $value := get $options $name -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if not (kindIs "string" $value) -}}{{- $value = $value | int64 | toString -}}{{- end -}}
{{- $settings = append $settings (dict "name" (get $constants.options $name) "value" $value) -}}
{{- end -}}
{{- end -}}
{{- $settings | toJson -}}
{{- end -}}

{{- /* Everything about one model, as JSON: of `serving`, at `place` in the values, with what names end with in `suffix`. */ -}}
{{- define "ebb.model" -}}
{{- $constants := include "ebb.constants" . | fromJson -}}
{{- $serving := .serving -}}
{{- $model := $serving.model -}}
{{- $task := $model.task | default "embed" -}}
{{- $gpu := get $constants.gpus ($serving.gpu | default $constants.defaults.gpu) -}}
{{- $workers := $serving.max_workers | default $constants.defaults.max_workers | int64 -}}
{{- $target := include "ebb.seconds" ($serving.drain_target | default $constants.defaults.drain_target) | int64 -}}
{{- $rate := $model.tokens_per_second | default $gpu.rate | int64 -}}
{{- $start := int64 $gpu.start -}}
{{- $batches := mul (int64 $constants.started_batches) (int64 $gpu.batch) -}}
{{- $grace := max (int64 $constants.grace) (div (add $batches (sub $rate 1)) $rate) -}}
{{- $cooldown := mul 60 (div (add (int64 $constants.retry) (int64 $constants.ack_wait) $start 59) 60) -}}
{{- if ge $grace (int64 $constants.ack_wait) -}}
{{- fail (printf "%smodel.tokens_per_second: `%d` makes the grace %d s, which has to be below the ack wait of %v s" .place $rate $grace $constants.ack_wait) -}}
{{- end -}}
{{- if gt $workers (int64 $constants.most_workers) -}}
{{- fail (printf "%smax_workers: `%d` has to be at most %v" .place $workers $constants.most_workers) -}}
{{- end -}}
{{- if lt $target (add $start $cooldown) -}}
{{- fail (printf "%sdrain_target: `%d` s has to be at least %d s, to start and to cool down" .place $target (add $start $cooldown)) -}}
{{- end -}}
{{- $tokens := int64 $constants.job_tokens -}}
{{- $schedule := merge (deepCopy ($serving.schedule | default dict)) $constants.defaults.schedule -}}
{{- $fills := and (eq $task "embed") (not $serving.attached) -}}
{{- $options := list -}}
{{- if $fills -}}
{{- $options = include "ebb.options" . | fromJsonArray -}}
{{- else if $serving.attached -}}
{{- $options = list (dict "name" "EBB_LANES" "value" "true") -}}
{{- end -}}
{{- dict
  "suffix" .suffix "name" $model.name "task" $task "fills" $fills
  "path" (printf "%s/%s-%s" $constants.models $model.name (trunc 12 $model.fingerprint))
  "fingerprint" $model.fingerprint "alias" ($serving.alias | default .alias)
  "grace" (toString $grace) "pod_grace" (toString (add $grace (int64 $constants.ending)))
  "workers" (toString $workers) "cooldown" (toString $cooldown)
  "live" (max 1 (div (mul $rate (int64 $constants.live_target)) $tokens) | toString)
  "bulk" (max 1 (div (mul $rate (max 0 (sub $target $start))) $tokens) | toString)
  "pool" $gpu.pool "resource" $gpu.resource "queue" ($serving.queue | default "")
  "source" (include "ebb.place" (dict "text" $model.source "mount" "/source") | fromJson)
  "corpus" (include "ebb.place" (dict "text" ($serving.source | default "s3://corpus") "mount" "/corpus") | fromJson)
  "idle" (ternary "false" "true" (not (empty $serving.source)))
  "cron" $schedule.cron "time_zone" $schedule.time_zone "options" $options
  | toJson -}}
{{- end -}}

{{- /* The first model. */ -}}
{{- define "ebb.first" -}}
{{- if eq (.Values.model.task | default "embed") "rescore" -}}
{{- fail "model.task: the first model has to embed: one that rescores belongs into `more_models`" -}}
{{- end -}}
{{- if .Values.attached -}}
{{- fail "attached: the first model fills its alias: one that is attached belongs into `more_models`" -}}
{{- end -}}
{{- include "ebb.model" (dict "serving" .Values "place" "" "suffix" "" "alias" .Values.alias
  "three" (eq .Values.servers "three")) -}}
{{- end -}}

{{- /* The further models, a list. */ -}}
{{- define "ebb.more" -}}
{{- $names := dict (replace "_" "-" .Values.model.name) "model.name" "main" "the label of the first model" -}}
{{- $aliases := dict .Values.alias "alias" -}}
{{- $models := list -}}
{{- range $index, $serving := .Values.more_models -}}
{{- $place := printf "more_models[%d]." $index -}}
{{- $name := replace "_" "-" $serving.model.name -}}
{{- if hasKey $names $name -}}
{{- fail (printf "%smodel.name: `%s` is the name that %s has" $place $name (get $names $name)) -}}
{{- end -}}
{{- if or (gt (len $name) 40) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "%smodel.name: `%s` cannot end the names of objects" $place $name) -}}
{{- end -}}
{{- $_ := set $names $name $place -}}
{{- $task := $serving.model.task | default "embed" -}}
{{- if and (eq $task "embed") (not $serving.attached) -}}
{{- if not $serving.alias -}}
{{- fail (printf "%salias: has to be decided: two models do not fill one alias" $place) -}}
{{- end -}}
{{- if hasKey $aliases $serving.alias -}}
{{- fail (printf "%salias: `%s` is filled by another model" $place $serving.alias) -}}
{{- end -}}
{{- $_ := set $aliases $serving.alias $place -}}
{{- else if or $serving.source $serving.options $serving.schedule -}}
{{- fail (printf "%smodel.task: a model that rescores, or is attached, fills no alias: it has no source, schedule and options" $place) -}}
{{- else if and $serving.attached (ne $task "embed") -}}
{{- fail (printf "%sattached: is not for a model that rescores: it fills no alias" $place) -}}
{{- else if and $serving.attached (not (hasKey $aliases ($serving.alias | default $.Values.alias))) -}}
{{- fail (printf "%salias: is filled by no model before this one" $place) -}}
{{- end -}}
{{- $model := include "ebb.model" (dict "serving" $serving "place" $place
  "suffix" $name "alias" $.Values.alias "three" (eq $.Values.servers "three")) -}}
{{- $models = append $models ($model | fromJson) -}}
{{- end -}}
{{- $models | toJson -}}
{{- end -}}

{{- /* What changes the settings of a model, and so has to start its workers anew. */ -}}
{{- define "ebb.changes" -}}
{{- list .model.path .model.fingerprint .model.alias .model.grace .model.workers .model.options .servers .version | toJson | sha256sum -}}
{{- end -}}

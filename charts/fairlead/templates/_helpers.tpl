{{- /*
Names are fixed: there is one Fairlead in a cluster, and programs such as kubectl-fairlead know it by them.
What is wrong with a value's type or name the schema says. What is wrong with its text is said here, in words.
*/ -}}

{{- define "fairlead.image" -}}
{{- with .Values.image -}}
{{- if not (regexMatch "^[^:@\\s]+(:[0-9]+/[^:@\\s]+)?$" .repository) -}}
{{- fail (printf "image.repository %q is no repository: write it without tag and digest, such as registry.example.com/fairlead; these are image.tag and image.digest" .repository) -}}
{{- end -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
The flags that values set, as JSON: each with what it is to be, the program's own default, and the value that sets it. A flag that is to be
what it is by default is not passed, so that the default values render what config/default has.
*/ -}}
{{- define "fairlead.flags" -}}
{{- if and .Values.metrics.certSecret (not .Values.metrics.secure) -}}
{{- fail "metrics.certSecret has no effect without HTTPS: leave metrics.secure true, or metrics.certSecret empty" -}}
{{- end -}}
{{- list
  (list "namespace" .Release.Namespace "fairlead-system" "the release's namespace (helm --namespace)")
  (list "load-balancer-class" .Values.loadBalancerClass "fairlead.io/fairlead" "loadBalancerClass")
  (list "require-load-balancer-class" .Values.requireLoadBalancerClass false "requireLoadBalancerClass")
  (list "zap-log-level" .Values.logLevel "info" "logLevel")
  (list "metrics-bind-address" (ternary (printf ":%v" .Values.metrics.port) "0" .Values.metrics.enabled) ":9790" "")
  (list "metrics-secure" .Values.metrics.secure true "metrics.secure")
  (list "metrics-cert-dir" (ternary "/etc/fairlead/metrics" "" (ne .Values.metrics.certSecret "")) "" "metrics.certSecret")
| toJson -}}
{{- end -}}

{{- define "fairlead.controllerFlags" -}}
{{- concat (include "fairlead.flags" . | fromJsonArray) (list
  (list "health-probe-bind-address" (printf ":%v" .Values.health.port) ":9791" "health.port")
) | toJson -}}
{{- end -}}

{{- define "fairlead.speakerFlags" -}}
{{- with .Values.speaker -}}
{{- if not (regexMatch "^(0|[0-9]+(\\.[0-9]+)?m?s)$" .bfd.interval) -}}
{{- fail (printf "speaker.bfd.interval %q is no time: write 80ms or 1s, for example, or 0 for none" .bfd.interval) -}}
{{- end -}}
{{- $exclude := list -}}
{{- if not (kindIs "invalid" .interfacesExclude) -}}
{{- $exclude = list (list "interfaces-exclude" .interfacesExclude nil "") -}}
{{- end -}}
{{- concat (include "fairlead.flags" $ | fromJsonArray) $exclude (list
  (list "health-probe-bind-address" (printf "127.0.0.1:%v" $.Values.health.port) "127.0.0.1:9791" "health.port")
  (list "ignore-exclude-lb" .ignoreExcludeLB false "speaker.ignoreExcludeLB")
  (list "dataplane-health-url" .dataplaneHealthURL "http://127.0.0.1:10256/healthz" "speaker.dataplaneHealthURL")
  (list "drain-time" .drainTime "10s" "speaker.drainTime")
  (list "gossip-profile" .gossip.profile "fast" "speaker.gossip.profile")
  (list "gossip-port" .gossip.port 9792 "speaker.gossip.port")
  (list "l2-bfd-port" .bfd.port 9793 "speaker.bfd.port")
  (list "l2-bfd-interval" .bfd.interval "80ms" "speaker.bfd.interval")
  (list "l2-bfd-multiplier" .bfd.multiplier 3 "speaker.bfd.multiplier")
) | toJson -}}
{{- end -}}
{{- end -}}

{{- /* The arguments of a program: of is its name among the values, flags are its, extra are more. */ -}}
{{- define "fairlead.args" -}}
{{- $ := . -}}
{{- $set := dict -}}
{{- $args := list -}}
{{- range $flag := .flags | fromJsonArray -}}
  {{- $_ := set $set (first $flag) (last $flag) -}}
  {{- if ne (toString (index $flag 1)) (toString (index $flag 2)) -}}
    {{- $args = append $args (printf "--%s=%v" (first $flag) (index $flag 1)) -}}
  {{- end -}}
{{- end -}}
{{- range .extra -}}
  {{- if not (regexMatch "^--?[a-z][a-z0-9-]*(=.*)?$" .) -}}
    {{- fail (printf "%s.extraArgs has %q, which is no flag: write each as one word, --name=value" $.of .) -}}
  {{- end -}}
  {{- $name := regexReplaceAll "^--?|=.*$" . "" -}}
  {{- with get $set $name -}}
    {{- fail (printf "%s.extraArgs has --%s, which is set elsewhere: use %s, which other things follow" $.of $name .) -}}
  {{- end -}}
  {{- $args = append $args . -}}
{{- end -}}
{{- if $args -}}
args:
{{ toYaml $args }}
{{- end -}}
{{- end -}}

{{- /* speaker.drainTime in seconds. */ -}}
{{- define "fairlead.drainSeconds" -}}
{{- if not (regexMatch "^([0-9]+m|([0-9]+m)?[0-9]+s)$" .) -}}
{{- fail (printf "speaker.drainTime %q is no time in minutes and seconds: write 30s, 2m or 1m30s, for example" .) -}}
{{- end -}}
{{- $minutes := regexFind "^[0-9]+m" . | trimSuffix "m" | default "0" | atoi -}}
{{- $seconds := regexFind "[0-9]+s$" . | trimSuffix "s" | default "0" | atoi -}}
{{- add (mul $minutes 60) $seconds -}}
{{- end -}}

{{- /* A file of config, in which the namespace is fairlead-system, for the release's. */ -}}
{{- define "fairlead.file" -}}
{{- .root.Files.Get .path | replace "namespace: fairlead-system\n" (printf "namespace: %s\n" .root.Release.Namespace) -}}
{{- end -}}

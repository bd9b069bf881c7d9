// Package docs checks the documentation against what there is: links and the index, each YAML block against a real API server, and
// each flag, annotation, metric, reason and quoted sentence against the code.
package docs

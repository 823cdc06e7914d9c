// Knative Serving: the definitions of its kinds. Its controllers do not build from modules.
module harmonybatch.dev/e2e/parts/knative

go 1.26.0

require knative.dev/serving v0.51.0

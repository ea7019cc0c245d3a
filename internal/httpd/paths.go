package httpd

// Paths that every daemon answers.
const (
	HealthPath  = "/healthz"
	ReadyPath   = "/readyz"
	MetricsPath = "/metrics"
	StatusPath  = "/status" // of an agent
)

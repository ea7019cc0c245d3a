package exporter

import (
	"net/http"
	"time"

	"kvexpress/internal/httpserve"
	"kvexpress/internal/observe/promtext"
)

// Handler answers what monitors ask.
func (e *Exporter) Handler() http.Handler {
	return httpserve.Pages{
		{Path: "/healthz", Write: httpserve.Verdict(e.Healthy)},
		{Path: "/readyz", Write: httpserve.Verdict(e.Ready)},
		{Path: "/metrics", Write: func(w http.ResponseWriter) {
			httpserve.Begin(w, promtext.ContentType)
			_ = e.WriteMetrics(w, time.Now()) // it fails when the client is gone
		}},
	}
}

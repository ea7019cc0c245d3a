//go:build !linux

package agent

// usage knows nothing here: there is no /proc.
func usage() processUse { return processUse{} }

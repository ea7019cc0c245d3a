//go:build !linux

package doctor

// Other systems describe file systems in other ways: an install says why it failed there.

func space(string) error { return nil }

func temporary(string) string { return "" }

func fixed(string, string, bool) []error { return nil }

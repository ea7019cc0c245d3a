package disk

// AboutOf is the record of an empty store of a format.
func AboutOf(version uint64) []byte { return (&about{format: version}).put() }

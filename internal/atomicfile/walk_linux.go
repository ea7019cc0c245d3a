package atomicfile

import "golang.org/x/sys/unix"

// openFolder opens a folder to go through, which needs no right to read it.
const openFolder = unix.O_PATH

package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt's file format, version 2. Numbers are in the machine's own byte order.
//
// It is read here and not with bbolt, which trusts what it maps: pages have no checksum, so that
// a damaged one makes it panic, in goroutines of its own too, or read what is not there.
// Of the two heads (meta pages) it takes the older without a word where the newer is
// damaged, and with it a state of before the last acknowledged write.
const (
	pageHeader  = 16 // id 8, kind 2, count 2, overflow 4
	elementSize = 16
	headSize    = 64
	headMagic   = 0xED0CDAED
	headVersion = 2

	branchPage   = 0x01
	leafPage     = 0x02
	headPage     = 0x04
	freelistPage = 0x10

	bucketElement = 0x01

	maxDepth = 64 // of a tree: more than any file that fits a disk needs
)

// head is a meta page's content.
type head struct {
	pageSize             uint32
	root, freelist, high uint64 // pages; high is the first that was never used
	txid                 uint64
}

// visit is told of each key of a bucket, in order. It keeps nothing of either.
type visit func(bucket string, key, value []byte) error

// pages reads the file and verifies its structure.
type pages struct {
	f    *os.File
	head head
	seen []bool // pages that something refers to
	tell visit
}

// read goes through the whole file: both heads, the free list and each page of each bucket.
func (p *pages) read() error {
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	if err := p.heads(); err != nil {
		return err
	}
	h := p.head
	if h.high < 4 || h.high > uint64(info.Size())/uint64(h.pageSize) {
		return wrong("head", "it needs %d pages of %d bytes, and the file has %d bytes: it was cut off", h.high, h.pageSize, info.Size())
	}
	p.seen = make([]bool, h.high)
	p.seen[0], p.seen[1] = true, true
	if err := p.free(); err != nil {
		return err
	}
	return p.tree(h.root, "", nil, nil, 0)
}

// heads reads both heads. A head is within one sector, which disks write whole or not at
// all, so that no crash damages one.
func (p *pages) heads() error {
	first := make([]byte, pageHeader+headSize)
	if _, err := p.f.ReadAt(first, 0); err != nil {
		return short("head 0", err)
	}
	zero, err := parseHead(first, 0)
	if err != nil {
		return err
	}
	second := make([]byte, pageHeader+headSize)
	if _, err := p.f.ReadAt(second, int64(zero.pageSize)); err != nil {
		return short("head 1", err)
	}
	one, err := parseHead(second, 1)
	if err != nil {
		return err
	}
	if zero.pageSize != one.pageSize {
		return wrong("head 1", "its page size is another than that of head 0")
	}
	if one.txid+1 != zero.txid && zero.txid+1 != one.txid { // each write takes the other
		return wrong("head", "its writes are %d and %d, and not one after the other: one is that of an earlier time", zero.txid, one.txid)
	}
	if p.head = zero; one.txid > zero.txid {
		p.head = one
	}
	return nil
}

func parseHead(b []byte, id uint64) (head, error) {
	place := fmt.Sprint("head ", id)
	order := binary.NativeEndian
	if order.Uint64(b) != id || order.Uint16(b[8:]) != headPage {
		return head{}, wrong(place, "it is no head page")
	}
	b = b[pageHeader:]
	hash := fnv.New64a()
	_, _ = hash.Write(b[:headSize-8]) // never fails
	if order.Uint32(b) != headMagic || order.Uint64(b[headSize-8:]) != hash.Sum64() {
		return head{}, wrong(place, "its checksum does not match: the last write may be missing in the other head")
	}
	h := head{
		pageSize: order.Uint32(b[8:]), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), high: order.Uint64(b[40:]), txid: order.Uint64(b[48:]),
	}
	if v := order.Uint32(b[4:]); v != headVersion {
		return head{}, wrong(place, "bbolt's format %d is not known", v)
	}
	if h.pageSize < 1<<10 || h.pageSize > 1<<24 || h.pageSize&(h.pageSize-1) != 0 {
		return head{}, wrong(place, "a page size of %d", h.pageSize)
	}
	return h, nil
}

func short(place string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return wrong(place, "the file ends before it: it was cut off")
	}
	return fmt.Errorf("%s: %w", place, err)
}

// page reads a page with its overflow, and notes that it was referred to.
func (p *pages) page(id uint64) (b []byte, kind uint16, err error) {
	place := fmt.Sprint("page ", id)
	if id < 2 || id >= p.head.high {
		return nil, 0, wrong(place, "there is no such page")
	}
	size := int64(p.head.pageSize)
	b = make([]byte, size)
	if _, err := p.f.ReadAt(b, int64(id)*size); err != nil {
		return nil, 0, short(place, err)
	}
	if binary.NativeEndian.Uint64(b) != id {
		return nil, 0, wrong(place, "it says that it is page %d", binary.NativeEndian.Uint64(b))
	}
	more := uint64(binary.NativeEndian.Uint32(b[12:]))
	if more >= p.head.high-id {
		return nil, 0, wrong(place, "it has more pages than there are")
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i] {
			return nil, 0, wrong(place, "page %d is used twice", i)
		}
		p.seen[i] = true
	}
	if more > 0 {
		b = make([]byte, int64(more+1)*size)
		if _, err := p.f.ReadAt(b, int64(id)*size); err != nil {
			return nil, 0, short(place, err)
		}
	}
	return b, binary.NativeEndian.Uint16(b[8:]), nil
}

// free reads the list of free pages. One that is free and in use would be written over.
func (p *pages) free() error {
	b, kind, err := p.page(p.head.freelist)
	if err != nil {
		return err
	}
	place := fmt.Sprint("page ", p.head.freelist)
	if kind != freelistPage {
		return wrong(place, "it is not the list of free pages")
	}
	count, ids := uint64(binary.NativeEndian.Uint16(b[10:])), b[pageHeader:]
	if count == 0xFFFF {
		count, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return wrong(place, "it lists more free pages than fit")
	}
	for i := range count {
		id := binary.NativeEndian.Uint64(ids[i*8:])
		if id < 2 || id >= p.head.high || p.seen[id] {
			return wrong(place, "page %d is free and in use, or not there", id)
		}
		p.seen[id] = true
	}
	return nil
}

// tree reads a bucket from a page on. All of its keys are at least low and below high,
// where those are not nil.
func (p *pages) tree(id uint64, bucket string, low, high []byte, depth int) error {
	b, kind, err := p.page(id)
	if err != nil {
		return err
	}
	return p.elements(b, kind, fmt.Sprint("page ", id), bucket, low, high, depth)
}

// elements reads what is in one page, and all that it refers to.
func (p *pages) elements(b []byte, kind uint16, place, bucket string, low, high []byte, depth int) error {
	count := int(binary.NativeEndian.Uint16(b[10:]))
	switch {
	case depth > maxDepth || kind != leafPage && kind != branchPage:
		return wrong(place, "it is no page of a bucket")
	case pageHeader+count*elementSize > len(b):
		return wrong(place, "it has more elements than fit")
	case kind == branchPage && count == 0:
		return wrong(place, "it is a branch without leaves")
	}
	for i := range count {
		e, err := p.element(b, kind, i)
		if err != nil {
			return wrong(place, "element %d %v", i, err)
		}
		if low != nil && (bytes.Compare(e.key, low) < 0 || i > 0 && bytes.Equal(e.key, low)) || high != nil && bytes.Compare(e.key, high) >= 0 {
			return wrong(place, "its keys are not in order")
		}
		low = e.key
		if kind == branchPage {
			below := high
			if i+1 < count {
				next, err := p.element(b, kind, i+1)
				if err != nil {
					return wrong(place, "element %d %v", i+1, err)
				}
				below = next.key
			}
			err = p.tree(e.page, bucket, e.key, below, depth+1)
		} else {
			err = p.leaf(e, place, bucket, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// element is one of a page: a leaf's has a value, a branch's a page.
type element struct {
	flags      uint32
	page       uint64
	key, value []byte
}

func (p *pages) element(b []byte, kind uint16, i int) (e element, err error) {
	order := binary.NativeEndian
	at := pageHeader + i*elementSize
	head, rest := b[at:at+elementSize], uint64(len(b)-at)
	var start, keySize, valueSize uint64
	if kind == leafPage {
		e.flags = order.Uint32(head)
		start, keySize, valueSize = uint64(order.Uint32(head[4:])), uint64(order.Uint32(head[8:])), uint64(order.Uint32(head[12:]))
	} else {
		start, keySize, e.page = uint64(order.Uint32(head)), uint64(order.Uint32(head[4:])), order.Uint64(head[8:])
	}
	if keySize == 0 || start < elementSize || start+keySize+valueSize > rest {
		return e, errors.New("is not within the page")
	}
	data := b[uint64(at)+start:]
	e.key, e.value = data[:keySize], data[keySize:keySize+valueSize]
	return e, nil
}

// leaf tells of a key, or goes into the bucket that it is.
func (p *pages) leaf(e element, place, bucket string, depth int) error {
	isBucket := e.flags == bucketElement
	switch {
	case isBucket != (bucket == "") || e.flags&^bucketElement != 0:
		return wrong(place, "key %q is not what it should be there", e.key)
	case !isBucket:
		return p.tell(bucket, e.key, e.value)
	case len(e.value) < 16:
		return wrong(place, "bucket %q is cut off", e.key)
	}
	if root := binary.NativeEndian.Uint64(e.value); root != 0 {
		return p.tree(root, string(e.key), nil, nil, depth+1)
	}
	inline := e.value[16:] // a small bucket is a page within its own value
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
		return wrong(place, "bucket %q is cut off", e.key)
	}
	return p.elements(inline, leafPage, place, string(e.key), nil, nil, depth+1)
}

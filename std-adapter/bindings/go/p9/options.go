package p9

import (
	"errors"
	"fmt"
	"math"
	"os"
)

// A Dialect is a version of the 9P protocol.
type Dialect string

// The dialects.
const (
	// Dialect0 is 9P2000. Its errors have no numbers and it has no symbolic links.
	Dialect0 Dialect = "9P2000"
	// DialectU is 9P2000.u. Its errors have numbers and messages.
	DialectU Dialect = "9P2000.u"
	// DialectL is 9P2000.L. Its errors have numbers but no messages.
	DialectL Dialect = "9P2000.L"
)

// Options contains the options for a client. If a field is zero, the client uses its default.
type Options struct {
	// Dialects lists the dialects that the client offers, in order of preference. The default is
	// 9P2000.u, 9P2000.L, 9P2000.
	Dialects []Dialect
	// User is the user name in Tattach. The default is the value of the USER environment variable, or
	// "nobody" if the variable is not set.
	User string
	// Tree is the name of the tree to attach to. The default is "/".
	Tree string
	// MessageSize is the maximum message size in bytes that the client offers. The minimum is 256. The
	// server may choose a smaller size. The default is 128 KiB plus 24 bytes.
	MessageSize uint32
	// MaxRequests is the maximum number of requests in flight. The limit is 16384. Further requests
	// wait. Each watch keeps one read in flight. The default is 1024.
	MaxRequests int
	// MaxFids is the maximum number of fids in use. The limit is 32000. Every open file uses one fid,
	// and a call that takes a path uses one fid while it runs. If no fid is free, calls block until
	// one is. The default is 4096.
	MaxFids int
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Dialects) == 0 {
		o.Dialects = []Dialect{DialectU, DialectL, Dialect0}
	}
	for _, dialect := range o.Dialects {
		if dialect != Dialect0 && dialect != DialectU && dialect != DialectL {
			return o, fmt.Errorf("9p: the dialect %q is not one of 9P2000, 9P2000.u and 9P2000.L", dialect)
		}
	}
	if o.User == "" {
		o.User = os.Getenv("USER")
	}
	if o.User == "" {
		o.User = "nobody"
	}
	if o.Tree == "" {
		o.Tree = "/"
	}
	if len(o.User) > math.MaxUint8 || len(o.Tree) > math.MaxUint8 {
		return o, errors.New("9p: the names of the user and of the tree may have at most 255 bytes each")
	}
	if o.MessageSize == 0 {
		o.MessageSize = 128<<10 + ioHeader
	}
	if o.MessageSize < 256 {
		return o, fmt.Errorf("9p: the message size is %d bytes, but must be at least 256", o.MessageSize)
	}
	if o.MaxRequests == 0 {
		o.MaxRequests = 1024
	}
	if o.MaxFids == 0 {
		o.MaxFids = 4096
	}
	if o.MaxRequests < 1 || o.MaxRequests > 16384 {
		return o, fmt.Errorf("9p: MaxRequests is %d, but must be 1 to 16384", o.MaxRequests)
	}
	if o.MaxFids < 1 || o.MaxFids > 32000 {
		return o, fmt.Errorf("9p: MaxFids is %d, but must be 1 to 32000", o.MaxFids)
	}
	return o, nil
}

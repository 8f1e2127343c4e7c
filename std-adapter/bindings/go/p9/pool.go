package p9

import (
	"context"
	"sync"
)

// A pool contains the numbers from first to first+size-1. Pools are used for tags and fids. If all
// numbers are in use, callers block.
type pool struct {
	slots chan struct{}
	mu    sync.Mutex
	free  []uint32
	next  uint32
}

func newPool(first uint32, size int) *pool {
	return &pool{slots: make(chan struct{}, size), next: first}
}

// acquire waits for a free number and takes it. acquire fails if ctx is done or done is closed
// first.
func (p *pool) acquire(ctx context.Context, done <-chan struct{}) (uint32, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-done:
			return 0, errLost
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		number := p.free[n-1]
		p.free = p.free[:n-1]
		return number, nil
	}
	p.next++
	return p.next - 1, nil
}

// release returns a number to the pool. It does not block.
func (p *pool) release(number uint32) {
	p.mu.Lock()
	p.free = append(p.free, number)
	p.mu.Unlock()
	<-p.slots
}

// inUse returns how many numbers are in use.
func (p *pool) inUse() int {
	return len(p.slots)
}

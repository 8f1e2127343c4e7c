//go:build !linux

package testserver

import "os/exec"

// endWithParent does nothing: only Linux has such a signal.
func endWithParent(*exec.Cmd) {}

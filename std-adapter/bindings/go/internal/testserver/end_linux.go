package testserver

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel kill the server when the test process exits. The test process
// cannot stop the server if it is killed after a timeout.
func endWithParent(server *exec.Cmd) {
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

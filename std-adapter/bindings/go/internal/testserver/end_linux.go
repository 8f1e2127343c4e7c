package testserver

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel kill the server when the test process ends. A test process that
// is killed after a timeout does not stop the server.
func endWithParent(server *exec.Cmd) {
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// Package datakit is a client for the DataKit database. The database is a Git repository that a
// server exposes as files over 9P. The package reads and writes branches and commits, runs
// transactions, merges commits and watches for changes.
//
//	client, err := datakit.Dial(ctx, "tcp", "localhost:5640")
//	master, err := client.Branch(ctx, "master")
//	tx, err := master.Begin(ctx)
//	defer tx.Abort()
//	err = tx.MakeDirs(ctx, "etc/app")
//	err = tx.CreateFile(ctx, "etc/app/level", []byte("debug"), false)
//	head, err := tx.Commit(ctx, "Set the log level")
//	level, err := head.Tree().ReadFile(ctx, "etc/app/level")
//
// All objects of a client share one connection. Any number of goroutines may use them at the same
// time. If the context of a call is cancelled or expires, the client cancels the request on the
// server.
//
// A path in a tree consists of names separated by single slashes. The empty string is the root. A
// name must not be empty, "." or "..".
//
// Use errors.Is to compare an error with fs.ErrExist, fs.ErrNotExist and the errors defined in this
// package. If the connection is lost, all calls fail with an error that matches p9.ErrLost. The
// client does not reconnect.
package datakit

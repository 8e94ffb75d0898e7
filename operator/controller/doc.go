// Package controller is the loop that makes the cluster follow the JupyterServers: observe, decide, act, report.
//
// What may live here: reading what a spec refers to, the server's own Secret, the watches, the status. What may not: how
// objects are rendered (operator/render), how a release is applied and stored (operator/release), why a pod does not
// run (operator/diagnosis).
package controller

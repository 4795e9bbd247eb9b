// Builds the network and volume agent of the test cluster's nodes: `make kind-bins`.
module pghad.test/kind/nodeagent

go 1.26.0

require github.com/vishvananda/netlink v1.3.1

require (
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/sys v0.10.0 // indirect
)

// Package lab runs a real Kubernetes cluster on one Linux machine, each host in namespaces of its own: a control plane,
// nodes with containerd, kubelet and kube-proxy, and a client, all on one LAN. It is what bin/lab does, and what
// end-to-end tests open to act on the same cluster.
//
// It decides nothing about Fairlead and installs exactly what config/default says. Outside of its own namespaces it only
// uses one folder, one control group, names in /run/netns and one TCP port on the loopback address; Down removes all of it, also
// after a crash of anything at any time.
package lab

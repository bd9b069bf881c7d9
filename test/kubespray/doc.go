// Package kubespray runs the Ansible role of config/kubespray: its tests have it render, without a cluster, what many sets of variables
// mean, and ask a real API server whether it takes that. The end-to-end tests use the package to run it against the lab.
//
// The Ansible that is used is the one in PATH. With the package of Debian 13, unpacked into a folder, and a script of that name which runs
// DIR/usr/bin/ansible-playbook with PYTHONPATH=DIR/usr/lib/python3/dist-packages first in PATH, the tests run with ansible-core 2.19.
package kubespray

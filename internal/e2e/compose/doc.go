// Package compose has the end-to-end test of docker-compose.yml: it builds the images, starts
// everything, kills each container, brings it back, and sees that all servers unseal automatically.
// It needs a Docker daemon, or another command for compose files in $COMPOSE, and so runs by `make
// test-compose` alone (build tag "compose").
package compose

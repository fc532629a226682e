#!/bin/sh
# git asks this for a user name and a password; both come from the environment of that one fetch.
case $1 in
Username*) printf '%s\n' "$PLUGFLEET_GIT_USERNAME" ;;
*) printf '%s\n' "$PLUGFLEET_GIT_PASSWORD" ;;
esac

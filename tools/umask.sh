# Read by every bash of the Makefile (BASH_ENV).
umask 022

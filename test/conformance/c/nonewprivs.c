/*
 * The program of the stand-in for e2e-test-images/nonewprivs: set-uid root in its image, it says
 * as whom it runs. With no_new_privs the set-uid bit has no effect (prctl(2), PR_SET_NO_NEW_PRIVS).
 */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	return printf("Effective uid: %u\n", (unsigned)geteuid()) < 0;
}

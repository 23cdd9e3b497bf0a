#include "relay.h"

static const char sync_word[] = "HUSK-SYNC ", echo_word[] = "HUSK-ECHO ", go_word[] = "HUSK-GO:: ", init_word[] = "HUSK-INIT ";
static const char no_key[] = "0000000000000000";

static bool has_word(const char *word, size_t length)
{
	return memcmp(relay.frame, word, length < WORD ? length : WORD) == 0;
}

/* Whether the bytes held so far can still become a frame that matters now. */
static bool may_be_frame(void)
{
	size_t length = relay.frame_length;
	char last = relay.frame[length - 1];
	if (length <= WORD)
		return has_word(sync_word, length) ||
		       (!relay.linked && (has_word(go_word, length) || has_word(init_word, length)));
	if (length < FRAME)
		return (last >= '0' && last <= '9') || (last >= 'a' && last <= 'f');
	return last == '\n';
}

void release_frame(size_t length)
{
	if (relay.linked)
		put(&relay.to_agent, relay.frame, length);
	relay.frame_length = 0;
}

void put_frame(const char *word)
{
	put(&relay.to_port, word, WORD);
	put(&relay.to_port, relay.nonce, NONCE);
	put(&relay.to_port, "\n", 1);
}

static void take_frame(void)
{
	const char *nonce = relay.frame + WORD;
	if (relay.linked && memcmp(relay.key, no_key, KEY) != 0 && memcmp(relay.key, nonce, KEY) != 0) {
		release_frame(FRAME);
		return;
	}
	relay.frame_length = 0;
	if (has_word(init_word, WORD)) {
		relay.in_batch = relay.nonce_known && memcmp(nonce, relay.nonce, NONCE) == 0;
		relay.batch_length = 0;
		return;
	}
	if (has_word(go_word, WORD)) {
		if (relay.nonce_known && memcmp(nonce, relay.nonce, NONCE) == 0) {
			memcpy(relay.key, nonce, KEY);
			relay.linked = true;
		}
		relay.nonce_known = false;
		return;
	}
	if (relay.linked)
		start_over();
	memcpy(relay.nonce, nonce, NONCE);
	relay.nonce_known = true;
	if (room(&relay.to_port) >= FRAME)
		put_frame(echo_word);
}

static void take_byte(char byte)
{
	relay.frame[relay.frame_length++] = byte;
	if (may_be_frame()) {
		if (relay.frame_length == FRAME)
			take_frame();
		return;
	}
	/* No frame holds an 'H' after its first byte: only this byte can start another one. */
	release_frame(relay.frame_length - 1);
	relay.frame[relay.frame_length++] = byte;
	if (!may_be_frame())
		release_frame(1);
}

void take_bytes(const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (relay.in_batch)
			take_batch_byte(bytes[i]);
		else
			take_byte(bytes[i]);
	}
}

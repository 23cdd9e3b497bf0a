/* What the host's frames do to streams. */
#include <string.h>
#include "port.h"
#include "stream.h"

static void open_stream(const struct frame *frame)
{
	struct stream *stream = find_stream(frame->stream);
	if (stream == NULL)
		stream = add_stream(frame->stream);
	if (stream == NULL) {
		static const char text[] = "too many streams in this pod";
		put_frame(frame->stream, RESET, 0, text, sizeof(text) - 1);
		return;
	}
	stream->opened = true;
	if (frame->length == 2 && !stream->bound) {
		memcpy(&stream->port, frame->payload, 2);
		dial(stream);
	}
}

void take_frame(const struct frame *frame)
{
	if (frame->type == OPEN) {
		open_stream(frame);
		return;
	}
	struct stream *stream = find_stream(frame->stream);
	if (stream == NULL || !stream->opened)
		return; /* it was over before the host knew */
	uint32_t bytes = 0;
	uint16_t size[2];
	switch (frame->type) {
	case DATA:
		queue_input(stream, frame->payload, frame->length);
		break;
	case END:
		stream->input_ended = true;
		break;
	case CREDIT:
		if (frame->length == sizeof(bytes) && (frame->channel == 1 || frame->channel == 2)) {
			memcpy(&bytes, frame->payload, sizeof(bytes));
			stream->credit[frame->channel - 1] += bytes;
		}
		break;
	case RESIZE:
		if (frame->length == sizeof(size)) {
			memcpy(size, frame->payload, sizeof(size));
			set_size(stream, size[0], size[1]);
		}
		break;
	case RESET:
		orphan_stream(stream);
		break;
	}
}

void link_lost(void)
{
	for (struct stream *each = streams, *next; each != NULL; each = next) {
		next = each->next;
		if (!each->orphan)
			orphan_stream(each);
	}
}

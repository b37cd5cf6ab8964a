"""Django with Channels: a group of WebSockets, a consumer in a thread, and views beside them."""

from typing import Any

import django
from django.conf import settings

settings.configure(
    DEBUG=True,
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import OriginValidator  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **more: Any) -> None:
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "content": content})

    async def chat_message(self, event: Any) -> None:
        await self.send_json({"room": self.room, **event["content"]})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)


class Talk(WebsocketConsumer):
    def connect(self) -> None:
        if self.scope["query_string"] == b"deny":
            self.close()
        else:
            self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=(text_data or "")[::-1])


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.method} {request.get_full_path()} {len(request.body)}")


urlpatterns = [path("", home)]
chat = OriginValidator(URLRouter([path("chat/<room>", Chat.as_asgi())]), ["https://a.example"])
talk = URLRouter([path("talk", Talk.as_asgi())])


async def sockets(scope: Any, receive: Any, send: Any) -> None:
    await (talk if scope["path"] == "/talk" else chat)(scope, receive, send)


app = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})

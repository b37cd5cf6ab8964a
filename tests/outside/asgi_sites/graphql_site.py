"""GraphQL by Strawberry: queries, an upload, subscriptions."""

from collections.abc import AsyncGenerator

import strawberry
from fastapi import FastAPI
from strawberry.fastapi import GraphQLRouter
from strawberry.file_uploads import Upload


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "you") -> str:
        return f"hello {name}"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def store(self, file: Upload) -> int:
        return len(await file.read())


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number


app = FastAPI()
schema = strawberry.Schema(Query, Mutation, Subscription)
app.include_router(GraphQLRouter(schema, multipart_uploads_enabled=True), prefix="/graphql")

"""The operator's own systems: the native API, its stream, questions to the backend and webhooks. asyncio, aiohttp.

`app.build` joins the parts into one aiohttp application, `server.serve` runs it. A request's way through the room:
`edge` (key, host, problems) -> a handler of its subject's module -> an operation to the core (`context.CoreLink`)
-> the reply as JSON. Nothing here decides anything about roaming.
"""

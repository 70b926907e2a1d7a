"""A backend made of a foreign OCPI library, run by the Python of the library's own environment.

    python foreign.py ROLE PORT TOKEN STATE    ROLE: cpo or emsp; TOKEN: what roamd must present; STATE: a file

Nothing of roamd is imported here, and nothing of OCPI is written here: what is served, checked and sent is the
library's. This file gives it a store in memory and, as its operator would, starts what the library leaves to its user:
POST /glue/put keeps an object, POST /glue/show tells what was stored and asked.

Both libraries are of one family (their package is called `py_ocpi`); where they differ this file asks which it is.
"""

import importlib
import inspect
import os
import sys

ROLE, PORT, TOKEN = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PARTIES = {"cpo": ("BE", "RMC"), "emsp": ("FR", "RMD")}
os.environ.update(
    OCPI_HOST=f"127.0.0.1:{PORT}", PROTOCOL="http", COUNTRY_CODE=PARTIES[ROLE][0], PARTY_ID=PARTIES[ROLE][1]
)

import uvicorn  # noqa: E402 - the library reads its settings from the environment when it is imported
from fastapi import Request  # noqa: E402
from py_ocpi import get_application  # noqa: E402
from py_ocpi.core.enums import Action, ModuleID, RoleEnum  # noqa: E402
from py_ocpi.core.exceptions import NotFoundOCPIError  # noqa: E402
from py_ocpi.modules.versions.enums import VersionNumber  # noqa: E402

V = VersionNumber.v_2_2_1
STORE: dict = {}
ASKED: list = []
CLASSES = {"locations": "Location", "sessions": "Session", "cdrs": "Cdr", "tariffs": "Tariff", "tokens": "Token"}


def key(module, id_):
    return (module.value, str(id_).lower())


class Crud:
    """The store that the library wants; it has one table for each module."""

    @classmethod
    async def get(cls, module, role, id_, *args, **kwargs):
        if module == ModuleID.credentials_and_registration:
            return own_credentials()
        if module == ModuleID.tokens and role == RoleEnum.emsp and key(module, id_) not in STORE:
            raise NotFoundOCPIError
        return STORE.get(key(module, id_))

    @classmethod
    async def list(cls, module, role, filters, *args, **kwargs):
        found = [value for (name, _), value in STORE.items() if name == module.value]
        page = found[filters["offset"] : filters["offset"] + filters["limit"]]
        return page, len(found), filters["offset"] + filters["limit"] >= len(found)

    @classmethod
    async def create(cls, module, role, data, *args, **kwargs):
        if module == ModuleID.credentials_and_registration:
            STORE["endpoints", ""] = data["endpoints"]
            return own_credentials()
        STORE[key(module, data.get("id") or data["uid"])] = data
        return data

    @classmethod
    async def update(cls, module, role, data, id_, *args, **kwargs):
        STORE[key(module, id_)] = data
        return data

    @classmethod
    async def delete(cls, module, role, id_, *args, **kwargs):
        STORE.pop(key(module, id_), None)

    @classmethod
    async def do(cls, module, role, action, *args, data=None, auth_token=None, **kwargs):
        if action == Action.get_client_token:
            return TOKEN if auth_token == TOKEN else None
        if action == Action.authorize_token:
            ASKED.append(data["token_uid"])
            token = STORE[key(ModuleID.tokens, data["token_uid"])]
            return {"allowed": "ALLOWED", "token": token, "authorization_reference": "REF-1"}
        return None


def own_credentials():
    country, party = PARTIES[ROLE]
    details = {"name": f"Foreign {ROLE}"}
    role = {"role": ROLE.upper(), "business_details": details, "country_code": country, "party_id": party}
    return {"token": TOKEN, "url": f"http://127.0.0.1:{PORT}/ocpi/versions", "roles": [role]}


def model(module, name):
    return getattr(importlib.import_module(f"py_ocpi.modules.{module}.v_2_2_1.schemas"), name)


class Adapter:
    """Gives the library's own models."""

    @classmethod
    def hubclientinfo_adapter(cls, data, *args):
        return model("hubclientinfo", "ClientInfo")(**data)

    @classmethod
    def credentials_adapter(cls, data, *args):
        return model("credentials", "Credentials")(**data)

    @classmethod
    def authorization_adapter(cls, data, *args):
        return model("tokens", "AuthorizationInfo")(**data)


def adapting(module, name):
    return classmethod(lambda cls, data, *args: model(module, name)(**data))


for _module, _name in CLASSES.items():
    setattr(Adapter, f"{_name.lower()}_adapter", adapting(_module, _name))


def application():
    wanted = inspect.signature(get_application).parameters
    more = {}
    if "authenticator" in wanted:
        from py_ocpi.core.authentication.authenticator import Authenticator

        class Known(Authenticator):
            @classmethod
            async def get_valid_token_c(cls):
                return [TOKEN]

            @classmethod
            async def get_valid_token_a(cls):
                return ["first-token-of-the-library"]

        more = {"authenticator": Known, "modules": [m for m in ModuleID if m != ModuleID.client_info]}
    return get_application([V], [RoleEnum[ROLE]], Crud, adapter=Adapter, http_push=True, **more)


app = application()


@app.post("/glue/put/{module}")
async def put(module: str, request: Request):
    data = await request.json()
    checked = model(module, CLASSES[module])(**data)  # the library's own check of what its user hands it
    STORE[key(ModuleID(module), data.get("id") or data["uid"])] = checked.dict()
    return {}


@app.get("/glue/show/{module}")
async def show(module: str):
    found = [value for (name, _), value in STORE.items() if name == module] if module != "asked" else ASKED
    return {"found": found}


uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")

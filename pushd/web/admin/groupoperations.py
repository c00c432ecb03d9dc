"""The operations about groups, declared: what each is called, takes and answers."""

from __future__ import annotations

from pushd.core.permissions import ADMIN, READ
from pushd.web.admin import groups
from pushd.web.operation import Answer, Body, Operation
from pushd.web.params import GROUP, LIMIT, NEXT, PREFIX, REASON, RECONNECT, USER
from pushd.web.shapes.groups import (
    Group,
    GroupOfUserPage,
    GroupPage,
    Member,
    MemberPage,
    MembersBody,
    MembersChanged,
)
from pushd.web.shapes.people import Kicked

TAG = "Groups"
CHANGED = Answer(200, "It is on disk, and who is connected has been told.", MembersChanged)

OPERATIONS = (
    Operation(
        name="list_groups",
        method="GET",
        path="/v1/groups",
        tag=TAG,
        summary="Groups by name",
        scopes=(READ, ADMIN),
        params=(PREFIX, LIMIT, NEXT),
        answers=(Answer(200, "A page of groups by name.", GroupPage),),
        handler=groups.list_groups,
    ),
    Operation(
        name="get_group",
        method="GET",
        path="/v1/groups/{group}",
        tag=TAG,
        summary="One group: how many members, how many of them online",
        scopes=(READ, ADMIN),
        params=(GROUP,),
        answers=(Answer(200, "The group.", Group),),
        refusals=(404,),
        handler=groups.get_group,
    ),
    Operation(
        name="delete_group",
        method="DELETE",
        path="/v1/groups/{group}",
        tag=TAG,
        summary="Delete a group with all its messages",
        help="All memberships end, and this life of the channel group:ID: whoever is put into a "
        "group of the same name later reads nothing of this one.",
        scopes=(ADMIN,),
        params=(GROUP,),
        answers=(CHANGED,),
        refusals=(404, 507),
        handler=groups.delete_group,
    ),
    Operation(
        name="list_members",
        method="GET",
        path="/v1/groups/{group}/members",
        tag=TAG,
        summary="Members of a group",
        help="A group that nobody is in is no error. A key that is limited to patterns sees the "
        "members whose inbox it covers: then a page may hold fewer items than its limit, or none, "
        "and still have a next.",
        scopes=(READ, ADMIN),
        params=(GROUP, LIMIT, NEXT),
        answers=(Answer(200, "A page of members by name.", MemberPage),),
        handler=groups.list_members,
    ),
    Operation(
        name="change_members",
        method="POST",
        path="/v1/groups/{group}/members",
        tag=TAG,
        summary="Add and remove many members at once",
        help=f"All of them in one transaction, or none; at most {groups.MOST} users. Who is a "
        "member already, or is none, stays so. A group begins with its first member and ends with "
        "its last.",
        scopes=(ADMIN,),
        params=(GROUP,),
        body=Body(MembersBody, '{"add":["alice","bob"],"remove":["carl"]}'),
        answers=(CHANGED,),
        refusals=(507,),
        handler=groups.change_members,
    ),
    Operation(
        name="get_member",
        method="GET",
        path="/v1/groups/{group}/members/{user}",
        tag=TAG,
        summary="Whether a user is in a group",
        scopes=(READ, ADMIN),
        params=(GROUP, USER),
        answers=(Answer(200, "Since when.", Member),),
        refusals=(404,),
        handler=groups.get_member,
    ),
    Operation(
        name="add_member",
        method="PUT",
        path="/v1/groups/{group}/members/{user}",
        tag=TAG,
        summary="Put a user into a group",
        help="From now on the user reads the channel group:ID; live sessions follow it at once. "
        "Nothing changes for a member.",
        scopes=(ADMIN,),
        params=(GROUP, USER),
        answers=(CHANGED,),
        refusals=(507,),
        handler=groups.add_member,
    ),
    Operation(
        name="remove_member",
        method="DELETE",
        path="/v1/groups/{group}/members/{user}",
        tag=TAG,
        summary="Take a user out of a group",
        help="Hints end at once, and held pulls of the channel are answered with forbidden. "
        "Nothing changes for who is no member.",
        scopes=(ADMIN,),
        params=(GROUP, USER),
        answers=(CHANGED,),
        refusals=(507,),
        handler=groups.remove_member,
    ),
    Operation(
        name="kick_group",
        method="DELETE",
        path="/v1/groups/{group}/sessions",
        tag=TAG,
        summary="End all sessions of all members",
        help="They stay members. A key that is limited to patterns ends those of the users whose "
        "inbox it covers.",
        scopes=(ADMIN,),
        params=(GROUP, REASON, RECONNECT),
        answers=(Answer(200, "How many were told to end.", Kicked),),
        handler=groups.kick_group,
    ),
    Operation(
        name="list_groups_of_user",
        method="GET",
        path="/v1/users/{user}/groups",
        tag=TAG,
        summary="The groups of a user",
        scopes=(READ, ADMIN),
        params=(USER, LIMIT, NEXT),
        answers=(Answer(200, "A page of groups by name.", GroupOfUserPage),),
        handler=groups.list_groups_of_user,
    ),
)

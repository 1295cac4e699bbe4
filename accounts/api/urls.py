"""Addresses of the accounts API, and the older spellings of some."""

from __future__ import annotations

from django.urls import path

from accounts.api import connections, factors, journal, keys, mail, people, roles, tickets, users, views
from accounts.api.grants import grant_routes
from lormas.common.wires import wired

urlpatterns = [
    *(route for kind in wired("GRANTS") for route in grant_routes(f"{kind}s", kind)),
    *grant_routes("workers", "node"),
    path("auth/sign-up", views.SignUp.as_view(), name="accounts-sign-up"),
    path("auth/register", views.SignUp.as_view(), name="accounts-register"),
    path("auth/sign-in", views.SignIn.as_view(), name="accounts-sign-in"),
    path("auth/login", views.SignIn.as_view(), name="accounts-login"),
    path("auth/refresh", views.Refresh.as_view(), name="accounts-refresh"),
    path("auth/sign-out", views.SignOut.as_view(), name="accounts-sign-out"),
    path("auth/logout", views.SignOut.as_view(), name="accounts-logout"),
    path("auth/session", views.Session.as_view(), name="accounts-session"),
    path("auth/me", views.Me.as_view(), name="accounts-me"),
    path("auth/profile", views.Profile.as_view(), name="accounts-profile"),
    path("auth/password", views.Password.as_view(), name="accounts-password"),
    path("auth/password/forgot", mail.Forgot.as_view(), name="accounts-forgot"),
    path("auth/password/reset", mail.Reset.as_view(), name="accounts-reset"),
    path("auth/verify", mail.Verify.as_view(), name="accounts-verify"),
    path("auth/verify/again", mail.VerifyAgain.as_view(), name="accounts-verify-again"),
    path("auth/email", mail.Email.as_view(), name="accounts-email"),
    path("auth/email/confirm", mail.EmailConfirm.as_view(), name="accounts-email-confirm"),
    path("auth/confirm", factors.Confirm.as_view(), name="accounts-confirm"),
    path("auth/second-factor", factors.Factor.as_view(), name="accounts-factor"),
    path("auth/second-factor/totp", factors.Totp.as_view(), name="accounts-totp"),
    path("auth/second-factor/recovery-codes", factors.RecoveryCodes.as_view(), name="accounts-recovery-codes"),
    path("auth/second-factor/passkeys/<int:passkey_id>", factors.Passkey.as_view(), name="accounts-passkey"),
    path("auth/connections", connections.Connections.as_view(), name="accounts-connections"),
    path("auth/connections/<int:connection_id>", connections.Connection.as_view(), name="accounts-connection"),
    path("auth/sessions", views.Sessions.as_view(), name="accounts-sessions"),
    path("auth/sessions/<uuid:session_id>", views.SessionDetail.as_view(), name="accounts-session-detail"),
    path("auth/keys", keys.Keys.as_view(), name="accounts-keys"),
    path("auth/keys/<uuid:key_id>", keys.KeyDetail.as_view(), name="accounts-key-detail"),
    path("auth/tickets", tickets.Tickets.as_view(), name="accounts-tickets"),
    path("auth/providers", views.Providers.as_view(), name="accounts-providers"),
    path("login", views.Login.as_view(), name="accounts-old-login"),
    path("whoami", views.Me.as_view(), name="accounts-whoami"),
    path("users", users.Users.as_view(), name="users-list"),
    path("users/stats", users.UserStats.as_view(), name="users-stats"),
    path("users/bulk", users.UserBulk.as_view(), name="users-bulk"),
    path("users/invite", users.UserInvite.as_view(), name="users-invite"),
    path("users/<uuid:user_id>/invite", users.UserInviteAgain.as_view(), name="users-invite-again"),
    path("users/<uuid:user_id>", users.UserDetail.as_view(), name="users-detail"),
    path("roles", roles.Roles.as_view(), name="roles-list"),
    path("roles/<uuid:role_id>", roles.RoleDetail.as_view(), name="roles-detail"),
    path("permissions", people.Permissions.as_view(), name="permissions-list"),
    path("audit", journal.Journal.as_view(), name="audit-list"),
]

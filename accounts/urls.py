"""Addresses of the gate and of what people keep about themselves."""

from __future__ import annotations

from django.urls import path

from accounts import passkey_views, settings_views, views

app_name = "accounts"
urlpatterns = [
    path("login", views.login_page, name="login"),
    path("login/code", views.code_page, name="code"),
    path("login/over", views.start_over, name="start-over"),
    path("login/passkey/options", passkey_views.enter_options, name="enter-options"),
    path("login/passkey", passkey_views.enter, name="enter-passkey"),
    path("login/code/options", passkey_views.second_options, name="code-options"),
    path("login/code/passkey", passkey_views.second, name="code-passkey"),
    path("login/mailed/<slug:what>", views.mailed_page, name="mailed"),
    path("signup", views.signup_page, name="signup"),
    path("signup/again", views.verify_again_page, name="verify-again"),
    path("verify/<str:token>", views.verify_page, name="verify"),
    path("logout", views.logout_page, name="logout"),
    path("password", views.password_page, name="password"),
    path("password/forgot", views.forgot_page, name="forgot"),
    path("password/reset/<str:token>", views.reset_page, name="reset"),
    path("confirm", settings_views.confirm_page, name="confirm"),
    path("confirm/options", passkey_views.confirm_options, name="confirm-options"),
    path("confirm/passkey", passkey_views.confirm, name="confirm-passkey"),
    path("profile", settings_views.profile_page, name="profile"),
    path("settings", settings_views.settings_page, name="settings"),
    path("settings/email", settings_views.email_page, name="email"),
    path("settings/email/<str:token>", settings_views.email_confirm_page, name="email-confirm"),
    path("settings/totp", settings_views.totp_page, name="totp"),
    path("settings/totp/remove", settings_views.totp_remove, name="totp-remove"),
    path("settings/codes", settings_views.codes_page, name="codes"),
    path("settings/passkeys/options", passkey_views.add_options, name="passkey-options"),
    path("settings/passkeys", passkey_views.add, name="passkey-add"),
    path("settings/passkeys/<int:passkey_id>/remove", settings_views.passkey_remove, name="passkey-remove"),
    path("settings/connections/<int:connection_id>/remove", settings_views.disconnect, name="disconnect"),
    path("settings/sessions", settings_views.sessions_page, name="sessions"),
    path("settings/sessions/end", settings_views.sessions_end, name="sessions-end"),
    path("settings/sessions/<uuid:session_id>/end", settings_views.session_end, name="session-end"),
    path("settings/keys", settings_views.keys_page, name="keys"),
    path("settings/keys/<uuid:key_id>/delete", settings_views.key_delete, name="key-delete"),
]

"""The first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.database.base import Json, JsonOrNull, UtcDateTime, now

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "adoption_rules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pattern", sa.String(length=253), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("hostgroups", Json, nullable=False),
        sa.Column("use_address", sa.Boolean(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adoption_rules")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("before", JsonOrNull, nullable=True),
        sa.Column("after", JsonOrNull, nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_log_actor_id"), ["actor", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_audit_log_kind_name_id"), ["kind", "name", "id"], unique=False
        )

    op.create_table(
        "controllers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("started", UtcDateTime, nullable=False),
        sa.Column("ended", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_controllers")),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.create_table(
        "hostgroups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("variables", Json, nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hostgroups")),
        sa.UniqueConstraint("name", name=op.f("uq_hostgroups_name")),
    )
    op.create_table(
        "hosts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("address", sa.String(length=253), nullable=False),
        sa.Column("agent_kind", sa.String(length=16), nullable=False),
        sa.Column("variables", Json, nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("last_heartbeat", UtcDateTime, nullable=True),
        sa.Column("reported_release", sa.Integer(), nullable=True),
        sa.Column("reported_commit", sa.String(length=40), nullable=False),
        sa.Column("reported_plan", sa.String(length=64), nullable=False),
        sa.Column("wanted_release", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("state_since", UtcDateTime, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hosts")),
        sa.UniqueConstraint("name", name=op.f("uq_hosts_name")),
    )
    with op.batch_alter_table("hosts", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_hosts_last_heartbeat_id"), ["last_heartbeat", "id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_hosts_state_id"), ["state", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_hosts_state_since_id"), ["state_since", "id"], unique=False
        )

    op.create_table(
        "portal_owned",
        sa.Column("portal", sa.String(length=300), nullable=False),
        sa.Column("side", sa.String(length=16), nullable=False),
        sa.Column("hostgroup", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint(
            "portal", "side", "hostgroup", "kind", "name", name=op.f("pk_portal_owned")
        ),
    )
    op.create_table(
        "portal_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.String(length=300), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("report", Json, nullable=False),
        sa.Column("started", UtcDateTime, nullable=False),
        sa.Column("ended", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_portal_runs")),
    )
    with op.batch_alter_table("portal_runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_portal_runs_status"), ["status"], unique=False)

    op.create_table(
        "releases",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("commit", sa.String(length=40), nullable=False),
        sa.Column("tree", sa.String(length=40), nullable=False),
        sa.Column("sources", Json, nullable=False),
        sa.Column("problems", JsonOrNull, nullable=True),
        sa.Column("fixes", Json, nullable=False),
        sa.Column("changes", Json, nullable=False),
        sa.Column("rollback_to", sa.Integer(), nullable=True),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_releases")),
        sa.UniqueConstraint("commit", name=op.f("uq_releases_commit")),
    )
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("ref", sa.String(length=250), nullable=False),
        sa.Column("subdir", sa.String(length=500), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("name", name=op.f("uq_sources_name")),
        sa.UniqueConstraint("path", name=op.f("uq_sources_path")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("hostgroups", JsonOrNull, nullable=True),
        sa.Column("expires", UtcDateTime, nullable=True),
        sa.Column("revoked", UtcDateTime, nullable=True),
        sa.Column("last_used", UtcDateTime, nullable=True),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_tokens_name")),
    )
    op.create_table(
        "unknown_hosts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("ip", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("head", sa.String(length=128), nullable=False),
        sa.Column("problem", sa.String(length=500), nullable=False),
        sa.Column("first_seen", UtcDateTime, nullable=False),
        sa.Column("last_seen", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unknown_hosts")),
        sa.UniqueConstraint("name", name=op.f("uq_unknown_hosts_name")),
    )
    with op.batch_alter_table("unknown_hosts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_unknown_hosts_last_seen"), ["last_seen"], unique=False)

    op.create_table(
        "agents",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("head", sa.String(length=128), nullable=False),
        sa.Column("ip", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("claimed_by", sa.String(length=64), nullable=False),
        sa.Column("claimed_at", UtcDateTime, nullable=True),
        sa.Column("listed", sa.String(length=64), nullable=False),
        sa.Column("delivered", sa.String(length=40), nullable=False),
        sa.Column("landed", sa.String(length=40), nullable=False),
        sa.Column("withheld", sa.Text(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.Column("config", sa.String(length=64), nullable=False),
        sa.Column("config_plan", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_id"], ["hosts.id"], name=op.f("fk_agents_host_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_agents")),
    )
    op.create_table(
        "binding_overrides",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("plugin", sa.String(length=500), nullable=False),
        sa.Column("config", Json, nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_id"],
            ["hosts.id"],
            name=op.f("fk_binding_overrides_host_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_binding_overrides")),
        sa.UniqueConstraint("host_id", "plugin", name=op.f("uq_binding_overrides_host_id_plugin")),
    )
    op.create_table(
        "bindings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hostgroup_id", sa.Integer(), nullable=False),
        sa.Column("plugin", sa.String(length=1000), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("config", JsonOrNull, nullable=True),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hostgroup_id"],
            ["hostgroups.id"],
            name=op.f("fk_bindings_hostgroup_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bindings")),
        sa.UniqueConstraint("hostgroup_id", "key", name=op.f("uq_bindings_hostgroup_id_key")),
    )
    with op.batch_alter_table("bindings", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_bindings_hostgroup_id"), ["hostgroup_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_bindings_plugin"), ["plugin"], unique=False)

    op.create_table(
        "deployments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("check", sa.Boolean(), nullable=False),
        sa.Column("request", Json, nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("retry_of", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("claimed_by", sa.Integer(), nullable=True),
        sa.Column("cancel_requested_by", sa.String(length=100), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("started", UtcDateTime, nullable=True),
        sa.Column("ended", UtcDateTime, nullable=True),
        sa.ForeignKeyConstraint(
            ["claimed_by"], ["controllers.id"], name=op.f("fk_deployments_claimed_by")
        ),
        sa.ForeignKeyConstraint(
            ["retry_of"], ["deployments.id"], name=op.f("fk_deployments_retry_of")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_deployments_status_id"), ["status", "id"], unique=False
        )

    op.create_table(
        "host_plugins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("plugin", sa.String(length=300), nullable=False),
        sa.Column("folder", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("seen", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(
            ["host_id"], ["hosts.id"], name=op.f("fk_host_plugins_host_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host_plugins")),
        sa.UniqueConstraint("host_id", "plugin", name=op.f("uq_host_plugins_host_id_plugin")),
    )
    with op.batch_alter_table("host_plugins", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_host_plugins_folder_state"), ["folder", "state"], unique=False
        )

    op.create_table(
        "idempotent_answers",
        sa.Column("token_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", Json, nullable=False),
        sa.Column("location", sa.String(length=300), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["tokens.id"],
            name=op.f("fk_idempotent_answers_token_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_id", "key", name=op.f("pk_idempotent_answers")),
    )
    with op.batch_alter_table("idempotent_answers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_idempotent_answers_created"), ["created"], unique=False
        )

    op.create_table(
        "memberships",
        sa.Column("hostgroup_id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("by_name", sa.Boolean(), nullable=False),
        sa.Column("by_rule", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_id"], ["hosts.id"], name=op.f("fk_memberships_host_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["hostgroup_id"],
            ["hostgroups.id"],
            name=op.f("fk_memberships_hostgroup_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hostgroup_id", "host_id", name=op.f("pk_memberships")),
    )
    with op.batch_alter_table("memberships", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_memberships_host_id"), ["host_id"], unique=False)

    op.create_table(
        "release_bundles",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bundle", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["number"],
            ["releases.number"],
            name=op.f("fk_release_bundles_number"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_release_bundles")),
    )
    op.create_table(
        "host_locks",
        sa.Column("host_id", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_host_locks_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["host_id"], ["hosts.id"], name=op.f("fk_host_locks_host_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_host_locks")),
    )
    with op.batch_alter_table("host_locks", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_host_locks_deployment_id"), ["deployment_id"], unique=False
        )

    op.create_table(
        "host_results",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=True),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("plan", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("warnings", Json, nullable=False),
        sa.Column("steps", Json, nullable=False),
        sa.Column("diff", Json, nullable=False),
        sa.Column("ended", UtcDateTime, nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_host_results_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["host_id"], ["hosts.id"], name=op.f("fk_host_results_host_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host_results")),
        sa.UniqueConstraint(
            "deployment_id", "host", name=op.f("uq_host_results_deployment_id_host")
        ),
    )
    with op.batch_alter_table("host_results", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_host_results_deployment_id_status_id"),
            ["deployment_id", "status", "id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_host_results_host"), ["host"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_host_results_host_id_id"), ["host_id", "id"], unique=False
        )

    op.create_table(
        "run_events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("deployment_id", sa.Integer(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("counter", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_run_events_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_events")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("run_events", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_run_events_deployment_id_id"), ["deployment_id", "id"], unique=False
        )

    op.create_table(
        "schedules",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("rrule", sa.Text(), nullable=False),
        sa.Column("request", Json, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("missed", sa.String(length=8), nullable=True),
        sa.Column("grace", sa.Integer(), nullable=True),
        sa.Column("overlap", sa.String(length=8), nullable=True),
        sa.Column("runs_in", sa.String(length=16), nullable=False),
        sa.Column("token_id", sa.Integer(), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcDateTime, nullable=True),
        sa.Column("turn_due", UtcDateTime, nullable=True),
        sa.Column("turn_at", UtcDateTime, nullable=True),
        sa.Column("turn_outcome", sa.String(length=16), nullable=False),
        sa.Column("turn_reason", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=True),
        sa.Column("awx_url", sa.String(length=300), nullable=False),
        sa.Column("awx_id", sa.Integer(), nullable=True),
        sa.Column("awx_template", sa.Integer(), nullable=True),
        sa.Column("awx_asked", UtcDateTime, nullable=True),
        sa.Column("awx_version", sa.Integer(), nullable=False),
        sa.Column("awx_job", JsonOrNull, nullable=True),
        sa.Column("awx_looked", UtcDateTime, nullable=True),
        sa.Column("awx_problem", sa.Text(), nullable=False),
        sa.Column("awx_since", UtcDateTime, nullable=True),
        sa.Column("awx_corrected", sa.Text(), nullable=False),
        sa.Column("removing", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_schedules_deployment_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_schedules_token_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("name", name=op.f("uq_schedules_name")),
    )
    with op.batch_alter_table("schedules", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_schedules_next_at"), ["next_at"], unique=False)

    op.create_table(
        "waves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("jobs", JsonOrNull, nullable=True),
        sa.Column("started", UtcDateTime, nullable=True),
        sa.Column("ended", UtcDateTime, nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_waves_deployment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waves")),
        sa.UniqueConstraint("deployment_id", "number", name=op.f("uq_waves_deployment_id_number")),
    )
    counters = sa.table("counters", sa.column("name"), sa.column("number"))
    op.bulk_insert(counters, [{"name": name, "number": 1} for name in ("plans", "states")])
    # Every host is in the hostgroup "all", with no rows of membership.
    moment = now()
    everywhere = {
        "name": "all",
        "description": "Every host",
        "rule": "",
        "variables": {},
        "secrets": "",
        "created": moment,
        "updated": moment,
        "version": 1,
    }
    hostgroups = sa.table(
        "hostgroups",
        *(sa.column(name) for name in ("name", "description", "rule", "secrets", "version")),
        sa.column("variables", Json),
        sa.column("created", UtcDateTime()),
        sa.column("updated", UtcDateTime()),
    )
    op.bulk_insert(hostgroups, [everywhere])


def downgrade() -> None:
    op.drop_table("waves")
    with op.batch_alter_table("schedules", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_schedules_next_at"))

    op.drop_table("schedules")
    with op.batch_alter_table("run_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run_events_deployment_id_id"))

    op.drop_table("run_events")
    with op.batch_alter_table("host_results", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_host_results_host_id_id"))
        batch_op.drop_index(batch_op.f("ix_host_results_host"))
        batch_op.drop_index(batch_op.f("ix_host_results_deployment_id_status_id"))

    op.drop_table("host_results")
    with op.batch_alter_table("host_locks", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_host_locks_deployment_id"))

    op.drop_table("host_locks")
    op.drop_table("release_bundles")
    with op.batch_alter_table("memberships", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_memberships_host_id"))

    op.drop_table("memberships")
    with op.batch_alter_table("idempotent_answers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotent_answers_created"))

    op.drop_table("idempotent_answers")
    with op.batch_alter_table("host_plugins", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_host_plugins_folder_state"))

    op.drop_table("host_plugins")
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deployments_status_id"))

    op.drop_table("deployments")
    with op.batch_alter_table("bindings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_bindings_plugin"))
        batch_op.drop_index(batch_op.f("ix_bindings_hostgroup_id"))

    op.drop_table("bindings")
    op.drop_table("binding_overrides")
    op.drop_table("agents")
    with op.batch_alter_table("unknown_hosts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_unknown_hosts_last_seen"))

    op.drop_table("unknown_hosts")
    op.drop_table("tokens")
    op.drop_table("sources")
    op.drop_table("releases")
    with op.batch_alter_table("portal_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_portal_runs_status"))

    op.drop_table("portal_runs")
    op.drop_table("portal_owned")
    with op.batch_alter_table("hosts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_hosts_state_since_id"))
        batch_op.drop_index(batch_op.f("ix_hosts_state_id"))
        batch_op.drop_index(batch_op.f("ix_hosts_last_heartbeat_id"))

    op.drop_table("hosts")
    op.drop_table("hostgroups")
    op.drop_table("counters")
    op.drop_table("controllers")
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_log_kind_name_id"))
        batch_op.drop_index(batch_op.f("ix_audit_log_actor_id"))

    op.drop_table("audit_log")
    op.drop_table("adoption_rules")

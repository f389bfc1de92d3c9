//! `etcdserverpb.Auth`: there are no users and no roles, and nobody has to say who they are.
//!
//! Clients ask all the same (`--user` on a command line, a user name in a configuration), and
//! go on without a token when they hear that authentication is not enabled. So every call is
//! answered as etcd answers while it is off and nobody was ever added.

use tonic::{Request, Response, Status};
use veridical_proto::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
    AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
    AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
    AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
    AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
    AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
    AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
    AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse,
    AuthUserListRequest, AuthUserListResponse, AuthUserRevokeRoleRequest,
    AuthUserRevokeRoleResponse, AuthenticateRequest, AuthenticateResponse, ResponseHeader,
};
use veridical_store::ApiError;

use super::api::auth_server::Auth;
use super::gate::{Gate, Learner};
use super::status_of;

/// Of an authentication store that nobody has changed.
const AUTH_REVISION: u64 = 1;

/// Who may do what: anybody everything.
pub(crate) struct AuthService {
    gate: Gate,
}

impl AuthService {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate }
    }

    #[allow(
        clippy::unnecessary_wraps,
        reason = "the field is optional on the wire"
    )]
    fn header(&self) -> Option<ResponseHeader> {
        let node = self.gate.node();
        Some(node.header(node.reader().revision()))
    }
}

/// A user or a role that could be added would have to mean something.
fn unsupported() -> Status {
    Status::unimplemented("veridical: there is no authentication; users and roles cannot be added")
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::root_user_not_found()))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Ok(Response::new(AuthDisableResponse {
            header: self.header(),
        }))
    }

    async fn auth_status(
        &self,
        request: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Ok(Response::new(AuthStatusResponse {
            header: self.header(),
            enabled: false,
            auth_revision: AUTH_REVISION,
        }))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::auth_not_enabled()))
    }

    async fn user_add(
        &self,
        request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(unsupported())
    }

    async fn user_get(
        &self,
        request: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::user_not_found()))
    }

    async fn user_list(
        &self,
        request: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Ok(Response::new(AuthUserListResponse {
            header: self.header(),
            users: Vec::new(),
        }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::user_not_found()))
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::user_not_found()))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::user_not_found()))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::user_not_found()))
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(unsupported())
    }

    async fn role_get(
        &self,
        request: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::role_not_found()))
    }

    async fn role_list(
        &self,
        request: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Ok(Response::new(AuthRoleListResponse {
            header: self.header(),
            roles: Vec::new(),
        }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::role_not_found()))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::role_not_found()))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        Err(status_of(ApiError::role_not_found()))
    }
}
